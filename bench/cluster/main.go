// Cluster tries what deploy/ holds in the Kubernetes cluster that kubectl reaches: a table of cases, each a run of
// deploy/bench.sh with one of the overlays, against "openloop simulate" behind a Service, and what must then be said,
// what the exit code must be, and what the report must hold. It prints a line a case, with its time.
//
//	go run ./bench/cluster -image registry.example/openloop:v1           # an image that the nodes can pull
//	go run ./bench/cluster -import 'kind load image-archive' -tar bin/openloop-image.tar
//	go run ./bench/cluster -list
//	go run ./bench/cluster -run throttled -v
//
// All happens in a namespace of its own with the Pod Security Standard "restricted" enforced, which is deleted at the
// end. The cases are Go literals in cases.go; run.go runs deploy/bench.sh, kube.go asks the cluster. It exits with 1 if
// a case fails. With -check it looks at the manifests alone (check.go), and needs no cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := campaign(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/cluster:", err)
		os.Exit(1)
	}
}

func campaign() error {
	c := &cluster{}
	flag.StringVar(&c.kubectl, "kubectl", "kubectl", "the program that reaches the cluster")
	flag.StringVar(&c.image, "image", "openloop:dev", "the image to try, where the nodes can pull it or have it")
	flag.StringVar(&c.namespace, "namespace", fmt.Sprintf("openloop-test-%d", os.Getpid()),
		"namespace for all of it; it must not exist, and is deleted at the end")
	imports := flag.String("import", "", "command that takes the file of -tar into the cluster")
	tarFile := flag.String("tar", "", "the image as a file, for -import")
	only := flag.String("run", "", "only cases whose name matches this expression")
	list := flag.Bool("list", false, "list the cases and end")
	keep := flag.Bool("keep", false, "keep the namespace, and what the cases leave")
	flag.BoolVar(&c.verbose, "v", false, "print what bench.sh prints")
	check := flag.String("check", "", "look at the manifests alone, with this openloop")
	flag.StringVar(&c.kustomize, "kustomize", "",
		"command that builds a folder, for -check (default: kubectl kustomize)")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var chosen []testCase
	for _, t := range cases() {
		if match.MatchString(t.name) {
			chosen = append(chosen, t)
		}
	}
	if *list {
		for _, t := range chosen {
			fmt.Println(t.name)
		}
		return nil
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no case matches %q", *only)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if c.root, err = projectRoot(); err != nil {
		return err
	}
	if *check != "" {
		return c.checkManifests(ctx, *check)
	}
	if c.scratch, err = os.MkdirTemp("", "openloop-cluster-"); err != nil {
		return err
	}
	if *keep {
		fmt.Println("kept:", c.scratch)
	} else {
		defer os.RemoveAll(c.scratch)
	}
	return c.try(ctx, chosen, *imports, *tarFile, *keep)
}

// try makes the namespace, runs the cases one after the other, and takes away what was made.
func (c *cluster) try(ctx context.Context, chosen []testCase, imports, tarFile string, keep bool) (err error) {
	started := time.Now()
	if imports != "" {
		if err := importImage(ctx, imports, tarFile); err != nil {
			return err
		}
		fmt.Printf("%-76s %5.1f s\n", "the image is taken into the cluster", time.Since(started).Seconds())
	}
	if !keep {
		defer func() {
			// Also after Ctrl-C.
			ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
			defer stop()
			err = errors.Join(err, c.remove(ctx))
		}()
	}
	begin := time.Now()
	if err := c.prepare(ctx); err != nil {
		return err
	}
	fmt.Printf("%-76s %5.1f s\n", "namespace (restricted), Secrets, and the simulated engine's Services",
		time.Since(begin).Seconds())
	var failed []string
	for i := range chosen {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t := &chosen[i]
		begin := time.Now()
		note, err := c.one(ctx, i, t)
		word := "pass"
		if err != nil {
			word = "FAIL"
			failed = append(failed, t.name)
		}
		fmt.Printf("%-70s %-5s %5.1f s  %s\n", t.name, word, time.Since(begin).Seconds(), note)
		if err != nil {
			fmt.Printf("    %s\n", strings.ReplaceAll(err.Error(), "\n", "\n    "))
		}
	}
	fmt.Printf("\n%d cases: %d passed, %d FAILED, in %.0f s\n", len(chosen), len(chosen)-len(failed), len(failed),
		time.Since(started).Seconds())
	if len(failed) > 0 {
		return errors.New("cases failed: " + strings.Join(failed, "; "))
	}
	return nil
}

// one runs a case.
func (c *cluster) one(ctx context.Context, number int, t *testCase) (note string, err error) {
	ctx, stop := context.WithTimeout(ctx, 8*time.Minute)
	defer stop()
	s := &scene{cluster: c, number: number, dir: filepath.Join(c.scratch, fmt.Sprintf("case%02d", number))}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return "", err
	}
	defer func() {
		if p := recover(); p != nil {
			wrong, ok := p.(wrong)
			if !ok {
				panic(p)
			}
			err = errors.New(string(wrong))
		}
	}()
	return t.do(ctx, s), nil
}

// projectRoot is the folder of the project's go.mod, from wherever in it this is run.
func projectRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "deploy", "bench.sh")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("run it in openloop's source")
		}
	}
}

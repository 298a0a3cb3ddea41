package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// manifest is what is looked at of a document that kustomize has built.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string // of a ConfigMap
	Spec     struct {
		Template    template // of a Job
		JobTemplate struct{ Spec struct{ Template template } }
	}
}

type template struct {
	Spec struct {
		Containers []struct {
			Name string
			Args []string
			Env  []struct {
				Name, Value string
				ValueFrom   struct {
					ConfigMapKeyRef, SecretKeyRef *keyRef
					FieldRef                      *struct{ FieldPath string }
				}
			}
			VolumeMounts []struct{ Name, MountPath string }
		}
		Volumes []struct {
			Name      string
			ConfigMap struct{ Name string }
		}
	}
}

type keyRef struct {
	Name, Key string
	Optional  bool
}

// checkManifests builds every overlay and runs the command of its pod as its container would, with the same
// openloop.yaml and the same variables, up to connecting: every flag must be known, every value accepted, every
// variable defined.
func (c *cluster) checkManifests(ctx context.Context, openloop string) error {
	openloop, err := filepath.Abs(openloop)
	if err != nil {
		return err
	}
	folders, err := filepath.Glob(filepath.Join(c.root, "deploy", "overlays", "*"))
	if err != nil || len(folders) == 0 {
		return fmt.Errorf("no overlays: %w", err)
	}
	var failed error
	for _, folder := range folders {
		name := "deploy/overlays/" + filepath.Base(folder)
		said, err := c.checkOverlay(ctx, folder, openloop)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
			continue
		}
		fmt.Printf("%s: %s\n", name, said)
	}
	targets, err := filepath.Glob(filepath.Join(c.root, "deploy", "targets", "*.yaml"))
	if err != nil || len(targets) == 0 {
		return errors.Join(failed, fmt.Errorf("no targets: %w", err))
	}
	for _, file := range targets {
		if err := checkTarget(file); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", file, err))
			continue
		}
		fmt.Printf("deploy/targets/%s: a ConfigMap bench-target\n", filepath.Base(file))
	}
	return failed
}

// checkTarget looks at an example of a target.
func checkTarget(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	all, err := readManifests(text)
	if err != nil {
		return err
	}
	if len(all) != 1 || all[0].Kind != "ConfigMap" || all[0].Metadata.Name != "bench-target" {
		return errors.New("it is not one ConfigMap bench-target")
	}
	if _, ok := all[0].Data["MODEL"]; !ok || !strings.HasPrefix(all[0].Data["BASE_URL"], "http") {
		return errors.New("it has no BASE_URL or no MODEL")
	}
	return nil
}

// build builds a folder.
func (c *cluster) build(ctx context.Context, folder string) ([]manifest, error) {
	command := c.kustomize
	if command == "" {
		command = c.kubectl + " kustomize"
	}
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-c", command+` "$0"`, folder)
	cmd.Dir, cmd.Stderr = c.root, &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, &complaint)
	}
	return readManifests(out)
}

// readManifests reads the documents of a file.
func readManifests(text []byte) ([]manifest, error) {
	var all []manifest
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document map[string]any
		err := d.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		// Kubernetes' fields are those of JSON.
		text, err := json.Marshal(document)
		if err != nil {
			return nil, err
		}
		var m manifest
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
}

// podWork finds the pod's template of the one Job or CronJob.
func podWork(all []manifest) (kind string, found template, err error) {
	n := 0
	for _, m := range all {
		switch m.Kind {
		case "Job":
			kind, found = m.Kind, m.Spec.Template
			n++
		case "CronJob":
			kind, found = m.Kind, m.Spec.JobTemplate.Spec.Template
			n++
		}
	}
	if n != 1 {
		return "", found, fmt.Errorf("it holds %d Jobs and CronJobs, and should hold one", n)
	}
	return kind, found, nil
}

var variable = regexp.MustCompile(`\$\(([A-Za-z_]+)\)`)

func (c *cluster) checkOverlay(ctx context.Context, folder, openloop string) (string, error) {
	all, err := c.build(ctx, folder)
	if err != nil {
		return "", err
	}
	kind, work, err := podWork(all)
	if err != nil {
		return "", err
	}
	scratch, err := os.MkdirTemp("", "openloop-check-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	for i := range work.Spec.Containers {
		box := &work.Spec.Containers[i]
		if box.Name != "openloop" {
			continue
		}
		// Paths of the container lie in the scratch folder.
		place := strings.NewReplacer("/results", filepath.Join(scratch, "results"), "/etc/openloop",
			filepath.Join(scratch, "openloop"))
		if err := writeConfig(scratch, all, &work); err != nil {
			return "", err
		}
		// Nothing listens there, so that the command gets as far as connecting: behind every check of its flags, before
		// any load. It is not to wait for it.
		values := map[string]string{"OPENLOOP_WAIT_READY": "1s"}
		for _, e := range box.Env {
			value := e.Value
			switch from := e.ValueFrom; {
			case from.ConfigMapKeyRef != nil && *from.ConfigMapKeyRef == keyRef{"bench-target", "BASE_URL", true}:
				value = "http://127.0.0.1:1"
			case from.ConfigMapKeyRef != nil && *from.ConfigMapKeyRef == keyRef{"bench-target", "MODEL", true}:
			case from.SecretKeyRef != nil && *from.SecretKeyRef == keyRef{"bench-target-auth", "api-key", true}:
				value = "sk-check"
			case from.SecretKeyRef != nil && *from.SecretKeyRef == keyRef{"openloop-workers", "token", false}:
				value = "token-check"
			case from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.name":
				value = "openloop-sweep-x7k2p"
			case from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.labels['batch.kubernetes.io/job-name']":
				value = "openloop-sweep"
			case value == "":
				return "", fmt.Errorf("the variable %s has no value, or one from elsewhere than is documented", e.Name)
			}
			if value, err = expand(value, values); err != nil {
				return "", err
			}
			values[e.Name] = place.Replace(value)
		}
		for i := range box.Args {
			if box.Args[i], err = expand(box.Args[i], values); err != nil {
				return "", err
			}
			box.Args[i] = place.Replace(box.Args[i])
		}
		ctx, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		cmd := exec.CommandContext(ctx, openloop, box.Args...)
		cmd.Dir = scratch
		for name, value := range values {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		out, _ := cmd.CombinedOutput() // the exit code says it
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "connection refused") {
			return "", fmt.Errorf("the command did not get as far as connecting (exit code %d):\nopenloop %s\n%s",
				cmd.ProcessState.ExitCode(), strings.Join(box.Args, " "), out)
		}
		for _, word := range []string{"warning: the variable", "note: "} {
			if strings.Contains(string(out), word) {
				return "", fmt.Errorf("something in it is not for this command:\n%s", out)
			}
		}
		return fmt.Sprintf("%s, openloop %s takes all of its configuration", kind, box.Args[0]), nil
	}
	return "", errors.New("it has no container openloop")
}

// expand puts variables in their places, as Kubernetes does; it leaves the text of those that are not defined before.
func expand(text string, values map[string]string) (string, error) {
	var err error
	return variable.ReplaceAllStringFunc(text, func(found string) string {
		value, ok := values[variable.FindStringSubmatch(found)[1]]
		if !ok {
			err = fmt.Errorf("%s in %q is not defined before it", found, text)
		}
		return value
	}), err
}

// writeConfig writes the ConfigMap's openloop.yaml where the container has it.
func writeConfig(scratch string, all []manifest, work *template) error {
	for _, v := range work.Spec.Volumes {
		if v.Name != "config" {
			continue
		}
		for _, m := range all {
			if m.Kind == "ConfigMap" && m.Metadata.Name == v.ConfigMap.Name {
				if err := os.MkdirAll(filepath.Join(scratch, "openloop"), 0o755); err != nil {
					return err
				}
				return os.WriteFile(filepath.Join(scratch, "openloop", "openloop.yaml"),
					[]byte(m.Data["openloop.yaml"]), 0o644)
			}
		}
		return fmt.Errorf("the volume config is of the ConfigMap %q, which it does not hold", v.ConfigMap.Name)
	}
	return errors.New("it has no volume config")
}

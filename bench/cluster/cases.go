package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// testCase is a row of the table.
type testCase struct {
	name string
	do   func(ctx context.Context, s *scene) (note string)
}

// The configurations of the cases. On a small test cluster the engine and the client share processors; where the
// verdict on the client is not what a case is about, an invalid one does not fail it.
const (
	request = "prompt-tokens: 16\noutput-tokens: 8\nallow-invalid: true\n"
	// long finds an answer that is decided.
	long = request + "wait-ready: 1m\nfast: true\nmax-seconds: 1\narrival: poisson\nslo: [ttft:p50<30ms]\n" +
		"precision: 0.2\nmax-seconds-per-stage: 6\nbudget: 45s\n"
	// short finds any.
	short = request + "wait-ready: 1m\nfast: true\nmax-seconds: 1\nslo: [ttft:p50<2s]\nmax-stages: 1\n" +
		"max-seconds-per-stage: 2\n"
	// steady is a run of ten seconds or so, for what happens to it meanwhile.
	steady = request + "wait-ready: 1m\nsweep-size: 2\nno-search: true\nmax-seconds: 8\n"
)

// precision is that of long, and of the comparison of one process with several.
const precision = 0.2

func cases() []testCase {
	return []testCase{
		{"plain: a sweep to its answer, through the name of a Service", answer},
		{"two runs at once: each its own Job, target, config and folder", twoAtOnce},
		{"target in openloop.yaml alone, no ConfigMap bench-target", targetInConfig},
		{"no target anywhere: refused, and it says so", noTarget},
		{"key from the Secret; it is in no log and no file", withSecret},
		{"an engine that asks for a key, and no Secret: refused", withoutSecret},
		{"a key that is refused", refusedKey},
		{"a target that is not there: said while it waits, then refused", notThere},
		{"a service that scales from zero is waited for", fromZero},
		{"pod deleted mid-stage: report within 5 s", podDeleted},
		{"log stream cut every 3 s: no line lost, none twice", logCut},
		{"Ctrl-C of bench.sh: the Job goes on, and is taken up again", takenUpAgain},
		{"throttled (CPU limit 200m): the verdict names it", throttled},
		{"a pod that the cluster refuses: the reason is said", podRefused},
		{"overlay private-registry", overlay("private-registry", "imagePullSecrets", "registry-login")},
		{"overlay nodes", overlay("nodes", "tolerations", "dedicated")},
		{"overlay nodes, the engine on the only node: Pending, and it says why", besideEngine},
		{"overlay networkpolicy", networkPolicy},
		{"overlay cronjob: a gate, by kubectl create job --from", cronJob},
		{"overlay emptydir: the report over the log", emptyDir},
		{"overlay workers: an Indexed Job of 4 pods is one open loop", workers},
		{"overlay openshift", overlay("openshift", "securityContext", "runAsNonRoot")},
		{"overlay openshift, a user as its namespaces give", anyUser},
	}
}

func answer(ctx context.Context, s *scene) string {
	e := s.until(ctx, ask{config: long, target: s.url(openEngine)}, decided)
	note := e.answered()
	search := e.report.OpenLoop.Search
	// 80 a second is what the engine serves at all; half of the requests meet the objective somewhat below.
	if search.Estimate < 40 || search.Estimate > 100 {
		s.failf("max rate %.3g (%.3g – %.3g), and the engine's is about 70\n%s", search.Estimate, search.Lower,
			search.Upper, tail(e.out))
	}
	for _, name := range []string{"benchmarks.json", "benchmarks.csv", "report.html", "openloop.yaml", "openloop.log"} {
		if !exists(filepath.Join(e.dir, name)) {
			s.failf("%s was not fetched\n%s", name, tail(e.out))
		}
	}
	// What the namespace enforces; and the root file system, which restricted leaves open.
	readOnly := s.get(ctx, "get", "pod", e.pod,
		"--output=jsonpath={.spec.containers[0].securityContext.readOnlyRootFilesystem}")
	ttl := s.get(ctx, "get", "job", "--output=jsonpath={.items[0].spec.ttlSecondsAfterFinished}")
	if readOnly != "true" || ttl != "86400" {
		s.failf("readOnlyRootFilesystem %q, ttlSecondsAfterFinished %q", readOnly, ttl)
	}
	return fmt.Sprintf("%s (%.3g – %.3g)", note, search.Lower, search.Upper)
}

func twoAtOnce(ctx context.Context, s *scene) string {
	// One has a target that refuses it: were the ConfigMap shared, it would not, or both would.
	one := s.begin(ctx, ask{config: short, target: s.url(openEngine)})
	other := s.begin(ctx, ask{config: "wait-ready: 0s\n", target: s.url(keyedEngine)})
	third := s.begin(ctx, ask{config: strings.Replace(short, "16", "17", 1), target: s.url(openEngine)})
	a, b, c := one.wait(), other.wait(), third.wait()
	b.expect(2)
	if a.pod == c.pod {
		s.failf("both have the pod %s", a.pod)
	}
	for run, tokens := range map[*ended]string{a: "16", c: "17"} {
		run.expect(0)
		if run.report == nil || len(run.report.OpenLoop.Stages) < 3 {
			s.failf("its report was not fetched\n%s", tail(run.out))
		}
		if want := "prompt_tokens=" + tokens; !strings.Contains(run.out, want) {
			s.failf("it does not run its own configuration: no %s\n%s", want, tail(run.out))
		}
	}
	return "" // no max rate: they share the engine
}

func targetInConfig(ctx context.Context, s *scene) string {
	e := s.run(ctx, ask{config: short + "target: " + s.url(openEngine) + "\nlabel: {where: cluster}\n"})
	return e.answered()
}

func noTarget(ctx context.Context, s *scene) string {
	e := s.run(ctx, ask{config: request})
	e.expect(2, "(?i)target", "refused before any load")
	return ""
}

// withKey runs something while the Secret bench-target-auth holds a key.
func (s *scene) withKey(ctx context.Context, key string, run func() *ended) *ended {
	s.get(ctx, "create", "secret", "generic", "bench-target-auth", "--from-literal=api-key="+key)
	defer func() {
		_, err := s.kube(context.WithoutCancel(ctx), "delete", "secret", "bench-target-auth")
		s.must(err)
	}()
	return run()
}

func withSecret(ctx context.Context, s *scene) string {
	e := s.withKey(ctx, goodKey, func() *ended {
		return s.run(ctx, ask{config: short, target: s.url(keyedEngine)})
	})
	note := e.answered()
	files, err := os.ReadDir(e.dir)
	s.must(err)
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(e.dir, f.Name()))
		s.must(err)
		if strings.Contains(string(text), goodKey) {
			s.failf("the key is in %s", f.Name())
		}
	}
	return note
}

func withoutSecret(ctx context.Context, s *scene) string {
	e := s.run(ctx, ask{config: short, target: s.url(keyedEngine)})
	e.expect(2, "(?i)openloop: .*key", "refused before any load")
	return ""
}

func refusedKey(ctx context.Context, s *scene) string {
	e := s.withKey(ctx, wrongKey, func() *ended {
		return s.run(ctx, ask{config: short, target: s.url(keyedEngine)})
	})
	e.expect(2, "(?i)openloop: .*(key|401)", "refused before any load")
	return ""
}

func notThere(ctx context.Context, s *scene) string {
	e := s.run(ctx, ask{config: request + "wait-ready: 12s\n", target: s.url("nowhere")})
	e.expect(2, `(?m)^\d\d:\d\d:\d\d waiting for the endpoint, at most 12s: `,
		`(?m)^\d\d:\d\d:\d\d waiting for the endpoint, 1\ds of 12s: `, "openloop: the endpoint is not ready after 12s")
	return ""
}

func fromZero(ctx context.Context, s *scene) string {
	defer func() {
		_, err := s.kube(context.WithoutCancel(ctx), "scale", "deployment/"+idleEngine, "--replicas=0")
		s.must(err)
	}()
	r := s.begin(ctx, ask{config: short, target: s.url(idleEngine)})
	r.says(ctx, `waiting for the endpoint, \d+s of 1m0s: `)
	s.get(ctx, "scale", "deployment/"+idleEngine, "--replicas=1")
	e := r.wait()
	e.expect(0, `the endpoint is ready after \d+s`)
	return e.answered()
}

func podDeleted(ctx context.Context, s *scene) string {
	r := s.begin(ctx, ask{config: strings.Replace(steady, "max-seconds: 8", "max-seconds: 60", 1),
		target: s.url(openEngine)})
	r.says(ctx, `stage 1/2 synchronous \d+s ttft`)
	pod := podLine.FindStringSubmatch(r.text())[1]
	deleted := time.Now()
	s.get(ctx, "delete", "pod", pod, "--wait=false")
	s.must(eventually(ctx, "the pod is gone", func() bool {
		left, err := s.kube(ctx, "get", "pod", pod, "--ignore-not-found", "--output=name")
		return err == nil && left == ""
	}))
	took := time.Since(deleted)
	e := r.wait()
	e.expect(143, "(?i)interrupted by SIGTERM")
	if took > 5*time.Second {
		s.failf("the pod was gone after %.1f s", took.Seconds())
	}
	if e.report == nil || len(e.report.OpenLoop.Stages) != 1 || e.report.OpenLoop.Stages[0].Requests.Completed < 50 {
		s.failf("the report does not hold what was measured\n%s", tail(e.out))
	}
	return fmt.Sprintf("gone after %.1f s, %d requests in the report", took.Seconds(),
		e.report.OpenLoop.Stages[0].Requests.Completed)
}

func logCut(ctx context.Context, s *scene) string {
	// A kubectl whose streams end after three seconds, in the middle of whatever it is about.
	cutting := filepath.Join(s.dir, "kubectl")
	s.must(os.WriteFile(cutting, []byte("#!/bin/sh\ncase \" $* \" in\n*' logs '*) exec timeout 3 "+s.kubectl+
		" \"$@\" ;;\n*) exec "+s.kubectl+" \"$@\" ;;\nesac\n"), 0o755))
	e := s.run(ctx, ask{config: steady, target: s.url(openEngine), env: []string{"KUBECTL=" + cutting}})
	e.expect(0)
	whole := s.get(ctx, "logs", e.pod)
	kept, err := os.ReadFile(filepath.Join(e.dir, "openloop.log"))
	s.must(err)
	if strings.TrimSpace(string(kept)) != whole {
		s.failf("the log of the pod:\n%s\nwhat was kept of it:\n%s", whole, kept)
	}
	for line := range strings.SplitSeq(whole, "\n") {
		if n := strings.Count(e.out, line+"\n"); line != "" && n < 1 || timed.MatchString(line) && n != 1 {
			s.failf("%d times in what bench.sh printed: %s", n, line)
		}
	}
	return fmt.Sprintf("%d lines", strings.Count(whole, "\n")+1)
}

var timed = regexp.MustCompile(`^\d\d:\d\d:\d\d `)

func takenUpAgain(ctx context.Context, s *scene) string {
	name := "again-" + strconv.Itoa(os.Getpid())
	a := ask{config: steady, target: s.url(openEngine), name: name}
	r := s.begin(ctx, a)
	r.says(ctx, `\d\d:\d\d:\d\d sweep http`)
	s.must(syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT))
	e := r.wait()
	e.expect(130, "The Job goes on", "make bench-openloop RUN="+name, "delete job openloop-"+name)
	e = s.run(ctx, ask{name: name})
	e.expect(0, "the Job openloop-"+name+" is there")
	if e.report == nil || len(e.report.OpenLoop.Stages) != 2 {
		s.failf("no report was fetched\n%s", tail(e.out))
	}
	return ""
}

func throttled(ctx context.Context, s *scene) string {
	e := s.run(ctx, ask{target: s.url(fixedEngine), patches: `
      - {op: replace, path: POD/containers/0/resources/limits/cpu, value: 200m}
      - {op: replace, path: POD/containers/0/args/0, value: run}`,
		config: "wait-ready: 1m\nprompt-tokens: 16\noutput-tokens: 32\nrate: 200\nmax-seconds: 8\n"})
	if e.code != 0 && e.code != 4 || e.report == nil {
		s.failf("exit code %d, want 0 or 4, and a report\n%s", e.code, tail(e.out))
	}
	for _, st := range e.report.OpenLoop.Stages {
		for _, reason := range st.Client.Reasons {
			if reason.Check == "cpu_limit" {
				if st.Client.Level == "valid" || !strings.Contains(e.out, "throttled in") {
					s.failf("client %s, and the log does not name it\n%s", st.Client.Level, tail(e.out))
				}
				return st.Client.Level + ": " + reason.Text
			}
		}
	}
	s.failf("no verdict names the throttling\n%s", tail(e.out))
	return ""
}

// podRefused asks for a pod that the namespace's Pod Security Standard forbids.
func podRefused(ctx context.Context, s *scene) string {
	e := s.run(ctx, ask{config: request, target: s.url(openEngine), env: []string{"PATIENCE=8"}, patches: `
      - {op: replace, path: POD/securityContext/runAsNonRoot, value: false}`})
	e.expect(1, "has not started after 8 s.*violates PodSecurity", "delete job")
	return ""
}

// overlay is a case that runs an overlay to its answer; some field of its pod must have what makes it this one.
func overlay(name, field, want string) func(ctx context.Context, s *scene) string {
	return func(ctx context.Context, s *scene) string {
		e := s.run(ctx, ask{overlay: name, config: short, target: s.url(openEngine)})
		note := e.answered()
		if got := s.get(ctx, "get", "pod", e.pod, "--output=jsonpath={.spec."+field+"}"); !strings.Contains(got, want) {
			s.failf("%s of the pod is %s, and has no %s", field, got, want)
		}
		return note
	}
}

// besideEngine has the engine's own label in the place of the overlay's example. Where the cluster has one node, there
// is none for the client.
func besideEngine(ctx context.Context, s *scene) string {
	nodes := s.get(ctx, "get", "nodes", "--output=name")
	patches := `
      - op: replace
        path: POD/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector/matchLabels
        value: {app: ` + openEngine + `}`
	a := ask{overlay: "nodes", config: short, target: s.url(openEngine), patches: patches,
		env: []string{"PATIENCE=10"}}
	e := s.run(ctx, a)
	if strings.Contains(nodes, "\n") {
		return e.answered() + ", on another node"
	}
	e.expect(1, "has not started after 10 s.*anti-affinity")
	return ""
}

func networkPolicy(ctx context.Context, s *scene) string {
	note := overlay("networkpolicy", "restartPolicy", "Never")(ctx, s)
	got := s.get(ctx, "get", "networkpolicy", "openloop", "--output=jsonpath={.spec.policyTypes}")
	if !strings.Contains(got, "Egress") {
		s.failf("policyTypes %s", got)
	}
	s.get(ctx, "delete", "networkpolicy", "openloop")
	return note
}

func cronJob(ctx context.Context, s *scene) string {
	gate := request + "wait-ready: 1m\nrate: 20\nslo: [ttft:p50<100ms]\nbudget: 20s\noutputs: [json, junit]\n" +
		"target: " + s.url(openEngine) + "\n"
	said := func(e *ended) bool { return !strings.Contains(e.out, "UNDECIDED: the client is invalid") }
	e := s.until(ctx, ask{overlay: "cronjob", config: gate}, said)
	e.expect(0, "cronjob.batch/openloop-gate (created|configured|unchanged)", `(?i)20.* (pass|holds)`)
	if !exists(filepath.Join(e.dir, "benchmarks.xml")) {
		s.failf("no benchmarks.xml was fetched\n%s", tail(e.out))
	}
	policy := s.get(ctx, "get", "cronjob", "openloop-gate", "--output=jsonpath={.spec.concurrencyPolicy}")
	if policy != "Forbid" {
		s.failf("concurrencyPolicy %s", policy)
	}
	// By hand, as the overlay says; and one that fails is a Job that fails.
	s.get(ctx, "create", "job", "gate-by-hand", "--from=cronjob/openloop-gate")
	s.must(eventually(ctx, "the Job has ended", func() bool {
		state, err := s.kube(ctx, "get", "job", "gate-by-hand", "--output=jsonpath={.status.conditions[*].type}")
		return err == nil && (strings.Contains(state, "Complete") || strings.Contains(state, "Failed"))
	}))
	e = s.until(ctx, ask{overlay: "cronjob", config: strings.Replace(gate, "rate: 20", "rate: 200", 1)}, said)
	e.expect(3, "(?i)fail")
	job := e.job()
	s.must(eventually(ctx, "the Job is Failed", func() bool {
		state, err := s.kube(ctx, "get", "job", job, "--output=jsonpath={.status.conditions[*].type}")
		return err == nil && strings.Contains(state, "Failed")
	}))
	s.get(ctx, "delete", "cronjob", "openloop-gate")
	return "20 req/s: exit 0; 200 req/s: exit 3"
}

func emptyDir(ctx context.Context, s *scene) string {
	e := s.run(ctx, ask{overlay: "emptydir", config: short, target: s.url(openEngine)})
	note := e.answered()
	if strings.Contains(e.out, "OPENLOOP REPORT") {
		s.failf("the report passes over the screen\n%s", tail(e.out))
	}
	claims := s.get(ctx, "get", "pod", e.pod, "--output=jsonpath={.spec.volumes[*].persistentVolumeClaim}")
	if claims != "" {
		s.failf("the pod has a claim: %s", claims)
	}
	info, err := os.Stat(filepath.Join(e.dir, "benchmarks.json.gz"))
	s.must(err)
	return fmt.Sprintf("%s, %.0f kB", note, float64(info.Size())/1000)
}

// workers compares with one process: both look for the same rate, to the same precision.
func workers(ctx context.Context, s *scene) string {
	one := s.until(ctx, ask{config: long, target: s.url(openEngine)}, decided)
	many := s.until(ctx, ask{overlay: "workers", config: long, target: s.url(openEngine)}, decided)
	a, b := one.report.OpenLoop.Search, many.report.OpenLoop.Search
	if b.Estimate < a.Estimate*(1-precision) || b.Estimate > a.Estimate*(1+precision) {
		s.failf("one process finds %.3g req/s, four pods %.3g\n%s", a.Estimate, b.Estimate, tail(many.out))
	}
	job := many.job()
	s.must(eventually(ctx, "the four pods have succeeded", func() bool {
		phases, err := s.kube(ctx, "get", "pods", "--selector=batch.kubernetes.io/job-name="+job,
			"--output=jsonpath={.items[*].status.phase}")
		return err == nil && phases == "Succeeded Succeeded Succeeded Succeeded"
	}))
	return fmt.Sprintf("max rate %.3g (%.3g – %.3g), of one process %.3g (%.3g – %.3g)", b.Estimate, b.Lower, b.Upper,
		a.Estimate, a.Lower, a.Upper)
}

// anyUser has a user and a group as OpenShift would put them in.
func anyUser(ctx context.Context, s *scene) string {
	e := s.run(ctx, ask{overlay: "openshift", config: short, target: s.url(openEngine), patches: `
      - {op: add, path: POD/securityContext/runAsUser, value: 1000650000}
      - {op: add, path: POD/securityContext/fsGroup, value: 1000650000}`})
	return e.answered()
}

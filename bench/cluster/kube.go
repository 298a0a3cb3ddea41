package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// cluster is the cluster that kubectl reaches.
type cluster struct {
	kubectl, kustomize string
	image, namespace   string
	root               string // of the project
	scratch            string
	verbose            bool
}

// The simulated engines, each a Service.
const (
	openEngine  = "engine"
	keyedEngine = "engine-keyed" // asks for a key
	idleEngine  = "engine-idle"  // has no pod until it is scaled
	fixedEngine = "engine-fixed" // answers at any load after the same time
	goodKey     = "sk-canary-41c7e09b"
	wrongKey    = "sk-canary-wrong-7d2f"
	workerToken = "token-canary-b1d9"
)

// What is simulated: 4 requests at a time, about 80 a second of the cases' size; and an engine without limits.
const (
	fewSequences = "few-sequences?time_scale=0.5"
	fixedTimes   = "fixed?ttft=30ms&itl=5ms"
)

// namespaceManifest makes the namespace and what all cases need in it: NAMESPACE, KEY and TOKEN are replaced.
const namespaceManifest = `
apiVersion: v1
kind: Namespace
metadata:
  name: NAMESPACE
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/enforce-version: latest
---
apiVersion: v1
kind: Secret
metadata: {name: engine-key, namespace: NAMESPACE}
stringData: {key: KEY}
---
apiVersion: v1
kind: Secret
metadata: {name: openloop-workers, namespace: NAMESPACE}
stringData: {token: TOKEN}
---
apiVersion: v1
kind: Secret
metadata: {name: registry-login, namespace: NAMESPACE}
type: kubernetes.io/dockerconfigjson
stringData:
  .dockerconfigjson: '{"auths": {"registry.invalid": {"username": "u", "password": "p"}}}'
`

// engineManifest is a simulated engine behind a Service: NAME, IMAGE, REPLICAS and ARGS are replaced.
const engineManifest = `
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: engine
          image: IMAGE
          imagePullPolicy: IfNotPresent
          args: [simulate, --addr=:8000, '--engine=ENGINE'ARGS]
          readinessProbe: {tcpSocket: {port: 8000}, periodSeconds: 1}
          resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {cpu: "1", memory: 512Mi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          volumeMounts: [{name: key, mountPath: /key, readOnly: true}]
      volumes: [{name: key, secret: {secretName: engine-key}}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  selector: {app: NAME}
  ports: [{port: 80, targetPort: 8000}]
`

// url is where a simulated engine is reached in the cluster.
func (c *cluster) url(engine string) string {
	return fmt.Sprintf("http://%s.%s.svc.cluster.local", engine, c.namespace)
}

func importImage(ctx context.Context, command, file string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", command+` "$0"`, file)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", command, file, err, out)
	}
	return nil
}

// prepare makes the namespace, the Secrets and the engines.
func (c *cluster) prepare(ctx context.Context) error {
	if _, err := c.raw(ctx, nil, "get", "namespace", c.namespace); err == nil {
		return fmt.Errorf("the namespace %s exists already: name another with -namespace", c.namespace)
	}
	manifest := strings.NewReplacer("KEY", goodKey, "TOKEN", workerToken).Replace(namespaceManifest)
	for _, e := range []struct{ name, engine, replicas, args string }{
		{openEngine, fewSequences, "1", ""},
		{keyedEngine, fewSequences, "1", ", --api-key-file=/key/key"},
		{idleEngine, fewSequences, "0", ""},
		{fixedEngine, fixedTimes, "1", ""},
	} {
		manifest += strings.NewReplacer("NAMESPACE", c.namespace, "NAME", e.name, "IMAGE", c.image,
			"REPLICAS", e.replicas, "ARGS", e.args, "ENGINE", e.engine).Replace(engineManifest)
	}
	manifest = strings.ReplaceAll(manifest, "NAMESPACE", c.namespace)
	if _, err := c.raw(ctx, []byte(manifest), "apply", "--filename=-"); err != nil {
		return err
	}
	for _, name := range []string{openEngine, keyedEngine, fixedEngine} {
		if _, err := c.kube(ctx, "rollout", "status", "deployment/"+name, "--timeout=90s"); err != nil {
			pods, _ := c.kube(ctx, "get", "pods", "--output=wide")
			return fmt.Errorf("the simulated engine does not start: %w\n%s", err, pods)
		}
	}
	return nil
}

// remove deletes the namespace. A volume that was there before, and is kept when its claim goes, is bound to that claim
// for good: it is made free again, as it was found.
func (c *cluster) remove(ctx context.Context) error {
	volume, _ := c.kube(ctx, "get", "persistentvolumeclaim", "openloop-results", "--ignore-not-found",
		"--output=jsonpath={.spec.volumeName}")
	begin := time.Now()
	if _, err := c.raw(ctx, nil, "delete", "namespace", c.namespace, "--ignore-not-found", "--wait"); err != nil {
		return err
	}
	if volume != "" {
		made, err := c.raw(ctx, nil, "get", "persistentvolume", volume, "--ignore-not-found", "--output=jsonpath="+
			`{.metadata.annotations.pv\.kubernetes\.io/provisioned-by}{.spec.persistentVolumeReclaimPolicy}`)
		if err == nil && made == "Retain" {
			_, err = c.raw(ctx, nil, "patch", "persistentvolume", volume, "--type=json",
				`--patch=[{"op": "remove", "path": "/spec/claimRef"}]`)
		}
		if err != nil {
			fmt.Printf("the volume %s could not be made free again: %v\n", volume, err)
		}
	}
	fmt.Printf("%-76s %5.1f s\n", "the namespace is deleted", time.Since(begin).Seconds())
	return nil
}

// kube runs kubectl in the namespace and returns what it printed.
func (c *cluster) kube(ctx context.Context, args ...string) (string, error) {
	return c.raw(ctx, nil, append([]string{"--namespace=" + c.namespace}, args...)...)
}

func (c *cluster) raw(ctx context.Context, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.kubectl, args...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &complaint
	cmd.Env = os.Environ()
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err,
			strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

// eventually asks again until it holds.
func eventually(ctx context.Context, what string, holds func() bool) error {
	for !holds() {
		select {
		case <-ctx.Done():
			return errors.New(what + ": it was waited for too long")
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

#!/usr/bin/env bash
# Runs the sweep of deploy/job.yaml in a cluster, shows its log, and fetches its reports: "make bench-openloop".
# From the environment:
#   IMAGE        the openloop image, where the cluster's nodes can pull it (openloop:dev)
#   NAMESPACE    where to run; empty: the current context's
#   TARGET       a ConfigMap to apply first, such as deploy/targets/vllm.yaml; empty: the bench-target that is there
#   RESULTS      local folder for the reports (openloop-results)
#   FETCH_IMAGE  image with sh and tar for the pod that hands the reports over: the openloop image has neither (busybox:1.37)
#   PATIENCE     seconds that the pod may take to start (300)
# Ends with openloop's own exit code. The reports are fetched whatever it was: openloop saves what was measured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
start=${OLDPWD:-.}

IMAGE=${IMAGE:-openloop:dev}
NAMESPACE=${NAMESPACE:-}
TARGET=${TARGET:-}
RESULTS=${RESULTS:-openloop-results}
FETCH_IMAGE=${FETCH_IMAGE:-busybox:1.37}
PATIENCE=${PATIENCE:-300}

job=openloop-sweep
fetcher=openloop-fetch

k() { kubectl ${NAMESPACE:+--namespace="$NAMESPACE"} "$@"; }

fail() {
  printf 'bench-openloop: %s\n' "$*" >&2
  exit 1
}

# pod_field JSONPATH: a field of the Job's pod, "" while there is none.
pod_field() { k get pods --selector="job-name=$job" --output=jsonpath="{.items[0]$1}" 2>/dev/null || true; }

command -v kubectl >/dev/null || fail "kubectl is not here"
echo "context $(kubectl config current-context), namespace ${NAMESPACE:-of the context}, image $IMAGE"

if [ -n "$TARGET" ]; then
  k apply --filename="$(cd "$start" && realpath "$TARGET")"
elif ! k get configmap bench-target --output=name >/dev/null; then
  fail "there is no ConfigMap bench-target: apply one, or give one of deploy/targets as TARGET"
fi

k delete job "$job" --ignore-not-found --wait
k apply --filename=volume.yaml
sed "s|^\( *image: \).*|\1$IMAGE|" job.yaml | k apply --filename=-

for ((waited = 0; ; waited += 2)); do
  case $(pod_field .status.phase) in
    Running | Succeeded | Failed) break ;;
  esac
  if [ "$waited" -ge "$PATIENCE" ]; then
    k describe pods --selector="job-name=$job" >&2 || true
    fail "the pod has not started after $PATIENCE s: $(pod_field '.status.containerStatuses[0].state.waiting.reason')"
  fi
  sleep 2
done
pod=$(pod_field .metadata.name)
k logs --follow "pod/$pod"

# The log ends with the container; its exit code is there a moment later.
code=
for ((waited = 0; waited < 60; waited++)); do
  code=$(pod_field '.status.containerStatuses[0].state.terminated.exitCode')
  [ -n "$code" ] && break
  sleep 1
done
[ -n "$code" ] || fail "the pod $pod does not end"

# A finished pod can't be copied from: another one that mounts the same volume hands its files over.
trap 'k delete pod "$fetcher" --ignore-not-found --wait=false >/dev/null' EXIT
k delete pod "$fetcher" --ignore-not-found --wait
k apply --filename=- <<POD
apiVersion: v1
kind: Pod
metadata:
  name: $fetcher
  labels:
    app.kubernetes.io/name: openloop
spec:
  restartPolicy: Never
  activeDeadlineSeconds: 600
  automountServiceAccountToken: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: fetch
      image: $FETCH_IMAGE
      command: [sleep, "600"]
      resources:
        requests: {cpu: 100m, memory: 64Mi}
        limits: {cpu: "1", memory: 64Mi}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - {name: results, mountPath: /results, readOnly: true}
  volumes:
    - name: results
      persistentVolumeClaim:
        claimName: openloop-results
POD
k wait --for=condition=Ready "pod/$fetcher" --timeout="${PATIENCE}s"
cd "$start"
mkdir -p "$RESULTS"
k exec "$fetcher" -- tar -C /results -cf - "$pod" | tar -C "$RESULTS" -xf -
echo "fetched:"
ls -l "$RESULTS/$pod"
[ "$code" = 0 ] || printf 'bench-openloop: openloop ended with exit code %s\n' "$code" >&2
exit "$code"

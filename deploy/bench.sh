#!/usr/bin/env bash
# Runs an overlay's Job in a cluster, shows its log, and fetches its reports: "make bench-openloop".
# From the environment:
#   OVERLAY    what to run: a folder of deploy/overlays, or a kustomization of your own over one (deploy/overlays/plain)
#   IMAGE      the openloop image, where the cluster's nodes can pull it; empty: the overlay's
#   NAMESPACE  where to run; empty: the overlay's, or the current context's
#   CONFIG     an openloop.yaml to run in place of the overlay's
#   TARGET     a ConfigMap bench-target for this run alone, such as deploy/targets/vllm.yaml; empty: the one that is there
#   RUN        a name for the run; the Job is openloop-RUN. Of a run that is there already, the log is taken up again
#   RESULTS    local folder for the reports (openloop-results)
#   PATIENCE   seconds that the pod may take to start, and the cluster to answer (300)
#   KUBECTL    kubectl
# Ends with openloop's own exit code. The reports are fetched whatever it was: openloop saves what was measured.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

OVERLAY=${OVERLAY:-$here/overlays/plain}
IMAGE=${IMAGE:-}
NAMESPACE=${NAMESPACE:-}
CONFIG=${CONFIG:-}
TARGET=${TARGET:-}
RESULTS=${RESULTS:-openloop-results}
PATIENCE=${PATIENCE:-300}
KUBECTL=${KUBECTL:-kubectl}

RUN=${RUN:-$(date -u +%m%d-%H%M%S)-$(printf %04x "$RANDOM")}
job=openloop-$RUN
fetcher=openloop-fetch-$RUN

fail() {
  printf 'bench-openloop: %s\n' "$*" >&2
  exit 1
}
tell() { printf '%s bench-openloop: %s\n' "$(date +%H:%M:%S)" "$*"; }

k() { "$KUBECTL" ${NAMESPACE:+--namespace="$NAMESPACE"} "$@"; }

command -v "$KUBECTL" >/dev/null || fail "$KUBECTL is not here"
[[ $RUN =~ ^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
  fail "RUN=$RUN: a name of a Job has small letters, digits and dashes, here at most 40"
[ -d "$OVERLAY" ] || fail "OVERLAY=$OVERLAY is not a folder: those of openloop are $(cd "$here" && echo overlays/*)"
for file in "$CONFIG" "$TARGET"; do
  [ -z "$file" ] || [ -f "$file" ] || fail "$file is not a file"
done
OVERLAY=$(cd "$OVERLAY" && pwd -P)

scratch=$(cd "$(mktemp -d)" && pwd -P)
started= # whether there is a fetching pod to remove
watcher=
cleanup() {
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
  [ -z "$started" ] || k delete pod "$fetcher" --ignore-not-found --wait=false >/dev/null 2>&1 || true
  rm -rf "$scratch"
}
trap cleanup EXIT

# same is this command for the run that is under way.
same() { echo "make bench-openloop RUN=$RUN${NAMESPACE:+ NAMESPACE=$NAMESPACE}"; }
applied=
interrupted() {
  trap - INT TERM
  if [ -n "$applied" ]; then
    printf '\nThe Job goes on in the cluster.\n  follow it and fetch its reports:  %s\n  end it, and remove it:            %s\n' \
      "$(same)" "$KUBECTL ${NAMESPACE:+--namespace=$NAMESPACE }delete job $job" >&2
  fi
  exit 130
}
trap interrupted INT TERM

# Kustomize takes ways that are relative alone: from the layer that is made here up to the root, and down to the overlay.
ups=${scratch//[!\/]/}
overlay=${ups//\//../}${OVERLAY#/}

# A layer over the overlay: the name of the run, and what was asked for here.
make_layer() { # make_layer KIND TEMPLATE: of what the overlay has, and where that has its pod's template
  local kind=$1 template=$2
  {
    echo 'apiVersion: kustomize.config.k8s.io/v1beta1'
    echo 'kind: Kustomization'
    echo "resources: ['$overlay'$([ -z "$TARGET" ] || echo ', target')]"
    echo 'patches:'
    [ "$kind" != Job ] ||
      printf -- '- target: {kind: Job}\n  patch: |\n    - {op: replace, path: /metadata/name, value: %s}\n' "$job"
    [ -z "$IMAGE" ] || patch "{containers: [{name: openloop, image: '$IMAGE'}]}"
    if [ -n "$TARGET" ]; then
      local from="valueFrom: {configMapKeyRef: {name: bench-target-$RUN, key"
      patch "{containers: [{name: openloop, env: [{name: OPENLOOP_TARGET, $from: BASE_URL}}},
        {name: OPENLOOP_MODEL, $from: MODEL}}}]}]}"
    fi
    if [ -n "$CONFIG" ]; then
      patch '{volumes: [{name: config, configMap: {name: openloop-config-given}}]}'
      cp "$CONFIG" "$scratch/openloop.yaml"
      printf 'configMapGenerator:\n- {name: openloop-config-given, files: [openloop.yaml]}\n'
    fi
  } >"$scratch/kustomization.yaml"
  if [ -n "$TARGET" ]; then
    # Under a name of its own: another run's target may be another.
    mkdir "$scratch/target"
    cp "$TARGET" "$scratch/target/bench-target.yaml"
    printf 'resources: [bench-target.yaml]\nnameSuffix: -%s\nnamespace: %s\n' "$RUN" "$NAMESPACE" \
      >"$scratch/target/kustomization.yaml"
  fi
}
patch() { # patch SPEC: of the pod
  printf -- '- target: {kind: %s}\n  patch: |\n' "$kind"
  printf '    {apiVersion: batch/v1, kind: %s, metadata: {name: any}, spec: %s}\n' "$kind" \
    "${template/POD/"${1//$'\n'/ }"}"
}

if k get job "$job" --output=name >/dev/null 2>&1; then
  tell "the Job $job is there: taking it up again"
else
  # What the overlay holds, with the namespace that it has or gets.
  "$KUBECTL" kustomize "$OVERLAY" >"$scratch/overlay.yaml"
  holds=$(k create --dry-run=client --filename="$scratch/overlay.yaml" \
    --output='jsonpath={.kind} {.metadata.namespace} {.metadata.name}{"\n"}')
  work=$(grep -E '^(Job|CronJob) ' <<<"$holds" || true)
  [ "$(grep -c . <<<"$work")" = 1 ] || fail "$OVERLAY holds no Job and no CronJob, or several"
  read -r kind NAMESPACE name <<<"$work"
  if [ -n "$TARGET" ]; then
    given=$(k create --dry-run=client --filename="$TARGET" --output='jsonpath={.kind}/{.metadata.name}')
    [ "$given" = ConfigMap/bench-target ] || fail "$TARGET is not a ConfigMap bench-target, but $given"
  fi
  echo "context $("$KUBECTL" config current-context), namespace $NAMESPACE, overlay $OVERLAY"
  case $kind in
    Job) make_layer Job '{template: {spec: POD}}' ;;
    CronJob) make_layer CronJob '{jobTemplate: {spec: {template: {spec: POD}}}}' ;;
  esac
  k apply --kustomize="$scratch"
  applied=yes
  [ "$kind" = Job ] || k create job "$job" --from="cronjob/$name"
  if [ -n "$TARGET" ] && [ "$kind" = Job ]; then
    # It goes with the Job.
    uid=$(k get job "$job" --output=jsonpath='{.metadata.uid}')
    k patch configmap "bench-target-$RUN" --type=merge --patch="{\"metadata\": {\"ownerReferences\":
      [{\"apiVersion\": \"batch/v1\", \"kind\": \"Job\", \"name\": \"$job\", \"uid\": \"$uid\"}]}}" >/dev/null
  fi
fi
applied=yes

# Of an Indexed Job the first pod leads, and has the results.
pods="batch.kubernetes.io/job-name=$job"
[ "$(k get job "$job" --output=jsonpath='{.spec.completionMode}')" != Indexed ] ||
  pods+=",batch.kubernetes.io/job-completion-index=0"

# why_not says why the pod does not start, as far as the cluster knows.
why_not() {
  local waiting='.status.containerStatuses[*].state.waiting'
  k get pods --selector="$pods" --output=jsonpath="{range .items[*]}{.status.conditions[?(@.status==\"False\")].message}\
 {$waiting.reason} {$waiting.message}{end}" | tr -s ' \n' ' '
  k get events --field-selector="involvedObject.kind=Job,involvedObject.name=$job,type=Warning" \
    --output=jsonpath='{.items[-1:].message}' || true
}
last=
for ((waited = 0; ; waited++)); do
  read -r pod phase <<<"$(k get pods --selector="$pods" \
    --output=jsonpath='{.items[0].metadata.name} {.items[0].status.phase}' 2>/dev/null || true)"
  case ${phase:-} in
    Running | Succeeded | Failed) break ;;
  esac
  why=$(why_not 2>/dev/null || true)
  if [ "$waited" -ge "$PATIENCE" ]; then
    fail "the pod of $job has not started after $PATIENCE s: ${why:-nothing is known of it}
It may still start: $(same); or remove it: $KUBECTL --namespace=$NAMESPACE delete job $job"
  fi
  if [ "$why" != "$last" ] && [ "$waited" -ge 5 ] || ((waited % 30 == 29)); then
    tell "the pod has not started yet: ${why:-nothing is known of it}"
    last=$why
  fi
  sleep 1
done
tell "pod $pod"

# What the fetching pod below has in common with it is asked for while it is there.
field() { k get pod "$pod" --output=jsonpath="{$1}"; }
json() { local value; value=$(field "$1") && echo "${value:-null}"; }
claim=$(field '.spec.volumes[?(@.name=="results")].persistentVolumeClaim.claimName')
output=$(field '.spec.containers[?(@.name=="openloop")].env[?(@.name=="OPENLOOP_OUTPUT_DIR")].value')
image=$(field '.spec.containers[?(@.name=="openloop")].image')
spec="\"securityContext\": $(json .spec.securityContext), \"imagePullSecrets\": $(json .spec.imagePullSecrets),
  \"nodeSelector\": $(json .spec.nodeSelector), \"affinity\": $(json .spec.affinity),
  \"tolerations\": $(json .spec.tolerations)"
inner=$(json '.spec.containers[?(@.name=="openloop")].securityContext')

# The state of the container decides when the run has ended, not the log: a stream may be cut, by a load balancer or a
# restart of the API server, and is then taken up again where it was.
log=$scratch/openloop.log
: >"$log"
shown=0
report= # while lines of the report in the log pass, which are not for people
follow() {
  local line n=0
  while IFS= read -r line; do # the end of a line that was cut is not taken for a line
    n=$((n + 1))
    [ "$n" -gt "$shown" ] || continue
    shown=$n
    printf '%s\n' "$line" >>"$log"
    case $line in '-----BEGIN OPENLOOP REPORT-----') report=yes ;; esac
    [ -n "$report" ] || printf '%s\n' "$line"
    case $line in '-----END OPENLOOP REPORT-----') report= ;; esac
  done < <(k logs --follow "pod/$pod" --container=openloop 2>>"$scratch/errors" || true)
}
ended='{.status.containerStatuses[?(@.name=="openloop")].state.terminated.exitCode}'
code=
answered=$SECONDS
while :; do
  # A pod that is deleted is gone a moment after its container has ended; what is seen last of it holds the exit code.
  # (Not by k: that would be a shell with kubectl under it, and kubectl would outlive it.)
  "$KUBECTL" ${NAMESPACE:+--namespace="$NAMESPACE"} get pod "$pod" --watch --output=jsonpath="$ended{\"\\n\"}" \
    >"$scratch/states" 2>/dev/null &
  watcher=$!
  follow
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  watcher=
  code=$(grep . "$scratch/states" | tail -1 || true)
  [ -z "$code" ] || break
  if state=$(k get pod "$pod" --ignore-not-found --output=jsonpath="there $ended" 2>/dev/null); then
    answered=$SECONDS
    read -r there code <<<"$state" || true
    [ -z "$code" ] && [ -n "$there" ] || break
  elif [ $((SECONDS - answered)) -gt "$PATIENCE" ]; then
    fail "the cluster does not answer; when it does: $(same)"
  fi
  sleep 1
done
follow # what came after a cut just before the end
if [ -z "$code" ]; then
  tell "the pod $pod is gone, and its exit code with it: $(k get job "$job" --ignore-not-found \
    --output=jsonpath='{.status.conditions[*].message}')"
fi

mkdir -p "$RESULTS/$pod"
cp "$log" "$RESULTS/$pod/openloop.log"

# fetch has another pod that mounts the same volume hand the files over: nothing can be copied out of one that has ended.
fetch() {
  started=yes
  k create --filename=- >/dev/null <<POD
{"apiVersion": "v1", "kind": "Pod",
 "metadata": {"name": "$fetcher", "labels": {"app.kubernetes.io/name": "openloop"}},
 "spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 1800, "terminationGracePeriodSeconds": 1,
  "automountServiceAccountToken": false, "enableServiceLinks": false, $spec,
  "containers": [{"name": "fetch", "image": "$image", "args": ["archive", "--wait", "30m"], "securityContext": $inner,
   "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
   "volumeMounts": [{"name": "results", "mountPath": "/results", "readOnly": true}]}],
  "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": "$claim"}}]}}
POD
  k wait --for=condition=Ready "pod/$fetcher" --timeout="${PATIENCE}s" >/dev/null || {
    k get pod "$fetcher" --output=jsonpath='{.status.conditions[?(@.status=="False")].message}{"\n"}' >&2
    return 1
  }
  local try
  for try in 1 2 3; do
    if k exec "$fetcher" -- /openloop archive "/results/$pod" >"$scratch/results.tar.gz" &&
      tar -C "$RESULTS/$pod" --no-same-owner -xzf "$scratch/results.tar.gz"; then
      return 0
    fi
    tell "fetching was cut (attempt $try of 3)"
  done
  return 1
}
if [ "$code" = 2 ]; then
  tell 'refused before any load: there is no report'
elif [[ $output == s3://* ]]; then
  tell "the reports are in the bucket: ${output//'$(POD_NAME)'/$pod}"
elif [ -n "$claim" ]; then
  fetch || fail "the reports are on the volume of $claim, in $pod, and could not be fetched: $(same)"
elif grep -q '^-----END OPENLOOP REPORT-----$' "$log"; then
  sed -n '/^-----BEGIN OPENLOOP REPORT-----$/,/^-----END OPENLOOP REPORT-----$/p' "$log" |
    grep -E '^[A-Za-z0-9+/=]+$' | base64 -d >"$RESULTS/$pod/benchmarks.json.gz" &&
    gzip -t "$RESULTS/$pod/benchmarks.json.gz" || fail "the report in the log is not whole: $RESULTS/$pod/openloop.log"
else
  tell 'there is no volume and no report in the log: what is left is the log'
fi
echo "in $RESULTS/$pod:"
ls -l "$RESULTS/$pod"
echo "The Job $job and its log stay for a day; $KUBECTL --namespace=$NAMESPACE delete job $job removes them."
[ "$code" = 0 ] || printf 'bench-openloop: openloop ended with exit code %s\n' "${code:-unknown}" >&2
exit "${code:-1}"

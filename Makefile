# What can be done with openloop's source. "make" alone lists the targets.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 10s
ARGS     ?=

BIN       := bin/openloop
LDFLAGS   := -s -w -X main.version=$(VERSION)
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

# The image, and where "make bench-openloop" finds its target and leaves its results.
CONTAINER   ?= docker
IMAGE       ?= openloop:dev
NAMESPACE   ?=
TARGET      ?=
RESULTS     ?= openloop-results

.DEFAULT_GOAL := help
.PHONY: help run build test lint fmt-check vet staticcheck race build-all fuzz bench bench-truth parity knee-study check-deploy check-links image bench-openloop clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## sweep the simulated engine in a short form, and print the result (ARGS='…' adds flags)
	$(BIN) sweep --target sim:l4-qwen2.5-0.5b --no-search --sweep-size 5 --max-seconds 4 --slo 'ttft:p95<250ms tpot:p95<15ms errors<1%' --allow-invalid $(ARGS)

build: ## build bin/openloop for this machine
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/openloop

test: ## run all tests
	$(GO) test ./...

race: ## run all tests under the race detector (needs a C compiler)
	$(GO) test -race ./...

lint: fmt-check vet staticcheck ## gofmt, go vet and staticcheck

fmt-check:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { printf 'gofmt would change:\n%s\n' "$$unformatted"; exit 1; }

vet:
	$(GO) vet ./...

staticcheck:
	$(GO) tool staticcheck ./...

build-all: ## build bin/openloop-OS-ARCH for linux and darwin, amd64 and arm64
	@set -e; for platform in $(PLATFORMS); do \
	  os=$${platform%/*}; arch=$${platform#*/}; echo "bin/openloop-$$os-$$arch"; \
	  CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/openloop-$$os-$$arch ./cmd/openloop; \
	done

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func / /' | while read -r file name; do \
	  echo "== $$name in $$(dirname "$$file")"; \
	  $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" </dev/null || exit 1; \
	done

bench: ## run the Go benchmarks, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-truth: ## hold the client against a server that knows the truth, in a process of its own (ARGS='-row 300')
	$(GO) run ./bench/truth $(ARGS)

parity: build ## run the pinned GuideLLM and openloop at equal rates and compare their reports (installs GuideLLM)
	OPENLOOP=$(BIN) bench/parity/run.sh $(ARGS)

knee-study: ## hold the search for the knee against engines whose knee is known (about 15 minutes)
	$(GO) test ./bench/knee -run '^TestKneeStudy$$' -count=1 -timeout 90m -v -args -study $(ARGS)

check-deploy: build ## check the manifests, and that the command in them is one that openloop takes
	.ci/check-deploy $(BIN)

check-links:
	.ci/check-links

image: ## build the container image IMAGE (openloop:dev) with CONTAINER (docker)
	$(CONTAINER) build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null) -t $(IMAGE) .

bench-openloop: ## run the Job in the current cluster and fetch its results (IMAGE, NAMESPACE, TARGET=deploy/targets/vllm.yaml)
	IMAGE='$(IMAGE)' NAMESPACE='$(NAMESPACE)' TARGET='$(TARGET)' RESULTS='$(RESULTS)' deploy/bench.sh

clean: ## remove what was built; results stay
	rm -rf bin

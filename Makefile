# What can be done with openloop's source. "make" alone lists the targets.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)
FUZZTIME ?= 10s
FUZZJOBS ?= 1
SOAK     ?= 1h
ARGS     ?=

BIN       := bin/openloop
LDFLAGS   := -s -w -X main.version=$(VERSION)
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

# What dates the image and the archives: the commit, so that two builds of it are equal.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

# The image, and where "make bench-openloop" finds its target and leaves its results.
CONTAINER   ?= docker
IMAGE       ?= openloop:dev
NAMESPACE   ?=
# A file of deploy/targets, such as deploy/targets/vllm.yaml.
TARGET      ?=
RESULTS     ?= openloop-results
OVERLAY     ?= deploy/overlays/plain
# An openloop.yaml in place of the overlay's.
CONFIG      ?=
RUN         ?=
KUBECTL     ?= kubectl
# What takes an image file into the cluster of "make test-cluster", where its nodes can't pull IMAGE: "kind load
# image-archive", "minikube image load", "ctr --namespace k8s.io images import". Its last argument is the file.
IMPORT      ?=

.DEFAULT_GOAL := help
.PHONY: help run build build-all test page-test race fuzz lint fmt-check vet staticcheck golangci-lint lint-lines \
        bench bench-truth faults soak parity parity-newest peers gateway knee-study compare-study man check-deploy check-install check-links \
        image bench-openloop test-cluster clean

help: ## list all targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## sweep the simulated engine, search its max rate, print the result: about a minute (ARGS='…' adds flags)
	$(BIN) sweep sim:l4-qwen2.5-0.5b --prompt-tokens 64 --output-tokens 16 --sweep-size 5 --max-seconds 4 \
	  --slo 'ttft:p95<100ms tpot:p95<20ms errors<1%' --budget 60s --max-seconds-per-stage 20 --allow-invalid $(ARGS)

build: ## build bin/openloop for this machine
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/openloop

test: ## run all tests
	$(GO) test ./...
	$(GO) test -tags man -run ManPages ./cmd/openloop
	$(GO) test -C tools/image ./...
	$(GO) test -C tools/release ./...

page-test: ## look at pages in Chromium (ARGS='-keep DIR' keeps what it saw as pictures)
	$(GO) test ./report/page -count=1 -timeout 20m -v -run 'Browser|UsingAPage|ManyRequests' -browser $(ARGS)

race: ## run all tests under the race detector (needs a C compiler)
	$(GO) test -race ./...

lint: fmt-check vet staticcheck golangci-lint ## gofmt, go vet, staticcheck and golangci-lint

fmt-check: ## gofmt alone: list the files that it would change
	@unformatted=$$(gofmt -l .); \
	test -z "$$unformatted" || { printf 'gofmt would change:\n%s\n' "$$unformatted"; exit 1; }

vet: ## go vet alone
	$(GO) vet ./...
	$(GO) vet -C tools/image ./...
	$(GO) vet -C tools/release ./...

staticcheck: ## staticcheck alone
	$(GO) tool staticcheck ./...

golangci-lint: ## golangci-lint alone: .golangci.yml, among it lines of at most 120 columns
	$(GO) tool -modfile=tools/go.mod golangci-lint run
	cd tools/image && $(GO) tool -modfile=../go.mod golangci-lint run
	cd tools/release && $(GO) tool -modfile=../go.mod golangci-lint run

lint-lines: ## count the lines over 120 columns, by package
	@$(GO) tool -modfile=tools/go.mod golangci-lint run --enable-only lll --output.text.print-issued-lines=false | \
	  awk -F: '/\(lll\)$$/ { sub("/[^/]*$$", "", $$1); count[$$1]++; all++ } \
	    END { for (p in count) printf "%5d %s\n", count[p], p; printf "%5d in all\n", all }' | sort -n

build-all: ## build bin/openloop-OS-ARCH for linux and darwin, amd64 and arm64
	@set -e; for platform in $(PLATFORMS); do \
	  os=$${platform%/*}; arch=$${platform#*/}; echo "bin/openloop-$$os-$$arch"; \
	  CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' \
	    -o bin/openloop-$$os-$$arch ./cmd/openloop; \
	done

fuzz: ## run every fuzz target for FUZZTIME (10s), FUZZJOBS (1) at a time, list what failed
	@GO='$(GO)' .ci/fuzz '$(FUZZTIME)' '$(FUZZJOBS)'

bench: ## run the Go benchmarks, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-truth: ## compare the client with a server that knows the truth, in a process of its own (ARGS='-row 300')
	$(GO) run ./bench/truth $(ARGS)

faults: build ## the fault campaign: misbehaving servers, and what must be said of them (minutes; ARGS='-run 1.4')
	$(GO) run ./bench/faults -openloop $(BIN) $(ARGS)

soak: build ## send load with faults for SOAK (1h), and watch descriptors and memory
	$(GO) run ./bench/faults -openloop $(BIN) -soak $(SOAK) $(ARGS)

parity-newest: build ## the same with the newest GuideLLM that was tried, by the command lines of "guidellm run"
	OPENLOOP=$(BIN) bench/parity/newest.sh $(ARGS)

parity: build ## run the pinned GuideLLM and openloop at equal rates, compare the reports (installs GuideLLM)
	OPENLOOP=$(BIN) bench/parity/run.sh $(ARGS)

gateway: build ## put a LiteLLM proxy before an engine: what it adds, its rate limit, --retry (installs LiteLLM; ENGINE=URL)
	OPENLOOP=$(abspath $(BIN)) bench/gateway/run.sh

peers: build ## run load generators against the same known truth, write bench/results/peers.md (ARGS='-install')
	$(GO) run ./bench/peers -openloop $(BIN) -write bench/results/peers.md $(ARGS)

compare-study: ## test the statistics of openloop compare by simulation, write bench/results/compare.md (about 10 minutes)
	$(GO) run ./bench/compare -bootstrap 200 -out bench/results/compare.md $(ARGS)

knee-study: ## compare the search with simulated engines whose true rate is known (about 50 minutes)
	$(GO) test ./bench/knee -run '^TestKneeStudy$$' -count=1 -timeout 90m -v -args -study $(ARGS)

.PHONY: test-s3
test-s3: ## test --output-dir s3://… against a server that checks signatures (installs versitygw)
	.ci/test-s3

check-deploy: build ## check the manifests, and that the command in them is one that openloop takes
	.ci/check-deploy $(BIN)

man: ## write the man pages of all commands to bin/man
	@rm -rf bin/man
	@SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(GO) run -tags man -ldflags '$(LDFLAGS)' ./cmd/openloop man bin/man

check-install: ## tag this commit in a copy of the repository, and "go install" the program from there
	.ci/check-install

check-links: ## check that every relative link of the docs leads to a file
	.ci/check-links

.PHONY: check-recipes pictures
check-recipes: build ## run the commands of docs/how-do-i.md against simulated engines (about two minutes)
	.ci/check-recipes $(BIN)

pictures: build ## make the pictures of the README, of a real run (two minutes; needs tmux and Chromium)
	docs/pictures/make.sh $(BIN)

image: ## build the container image IMAGE (openloop:dev) with CONTAINER (docker)
	$(CONTAINER) build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t $(IMAGE) .

# What is given away is built apart: it must not depend on whether git is there.
define programs
@set -e; for platform in $(1); do \
  CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GO) build -trimpath -buildvcs=false \
    -ldflags '$(LDFLAGS)' -o bin/programs/$$platform/openloop ./cmd/openloop; \
done
endef
IMAGE_PLATFORMS := linux/amd64 linux/arm64
IMAGE_ARGS = -name '$(IMAGE)' -version '$(VERSION)' -revision '$(REVISION)' -created $(SOURCE_DATE_EPOCH) \
  $(foreach p,$(IMAGE_PLATFORMS),$(p)=bin/programs/$(p)/openloop)

.PHONY: image-programs image-tar image-push release-snapshot workflows
image-programs:
	$(call programs,$(IMAGE_PLATFORMS))
	@$(GO) build -C tools/image -o $(CURDIR)/bin/image-tool .

image-tar: image-programs ## build the image IMAGE without a container engine, as bin/openloop-image.tar
	@bin/image-tool -o bin/openloop-image.tar $(IMAGE_ARGS)

image-push: image-programs ## build the image IMAGE without a container engine, and push it to the registry in its name
	@bin/image-tool -push $(IMAGE_ARGS)

release-snapshot: build man ## make what a release has to download, in bin/release: archives, SBOMs, checksums
	$(call programs,$(PLATFORMS))
	@rm -rf bin/release bin/release-files
	@mkdir -p bin/release-files/completions bin/release-files/man/man1
	@cp README.md LICENSE CHANGELOG.md bin/release-files
	@cp bin/man/*.1 bin/release-files/man/man1
	@$(BIN) completion bash > bin/release-files/completions/openloop.bash
	@$(BIN) completion zsh > bin/release-files/completions/_openloop
	@$(BIN) completion fish > bin/release-files/completions/openloop.fish
	@$(BIN) completion powershell > bin/release-files/completions/openloop.ps1
	@$(GO) build -C tools/release -o $(CURDIR)/bin/release-tool .
	@CGO_ENABLED=0 $(GO) build -C tools/release -trimpath -o $(CURDIR)/bin/cyclonedx-gomod \
	  github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
	@bin/release-tool -o bin/release -files bin/release-files -bom bin/cyclonedx-gomod -version '$(VERSION)' \
	  -created $(SOURCE_DATE_EPOCH) $(foreach p,$(PLATFORMS),$(p)=bin/programs/$(p)/openloop)
	@.ci/check-release bin/release '$(VERSION)'

workflows: ## check .github/workflows by actionlint
	$(GO) tool -modfile=tools/release/go.mod actionlint

# An image that nobody asked for does not take the place of the overlay's.
bench-openloop: ## run an OVERLAY's Job in the current cluster, fetch its results (IMAGE, NAMESPACE, CONFIG, TARGET, RUN)
	@IMAGE='$(if $(filter file,$(origin IMAGE)),,$(IMAGE))' OVERLAY='$(OVERLAY)' NAMESPACE='$(NAMESPACE)' \
	  CONFIG='$(CONFIG)' TARGET='$(TARGET)' RUN='$(RUN)' RESULTS='$(RESULTS)' KUBECTL='$(KUBECTL)' deploy/bench.sh

test-cluster: $(if $(IMPORT),image-tar) ## try deploy/ in the cluster that kubectl reaches, 9 minutes (IMAGE or IMPORT; ARGS='-run cron')
	$(GO) run ./bench/cluster -kubectl '$(KUBECTL)' -image '$(IMAGE)' \
	  $(if $(IMPORT),-import '$(IMPORT)' -tar bin/openloop-image.tar) $(ARGS)

clean: ## remove what was built; results stay
	rm -rf bin

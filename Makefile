# Everything one does here is a target; the build server calls the same ones.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PROGRAMS := ingest dispatcher dlr-collector tuma
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 10s
# Where several goroutines meet; the rest is pure and gains nothing from -race.
RACY := $(addprefix ./internal/,bus journal dispatch ingest dlr status service simulator) ./pkg/ratelimit ./pkg/providers/httpapi
LINT := go tool -modfile=tools/go.mod golangci-lint
# go test, with skipped tests printed loudly; TESTFLAGS=-strict makes them a failure.
GOTEST := go run ./test/gotest $(TESTFLAGS)

.PHONY: help run build test test-race model e2e strength fuzz crashes chaos mutations bench bench-table cover lint fmt verify images clean

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Start everything in one process, with simulated providers
	go run ./cmd/tuma up

build: ## Build the programs into bin/
	@mkdir -p bin
	go build -trimpath -ldflags '-s -w' -o bin/ $(addprefix ./cmd/,$(PROGRAMS))

test: ## Run all tests; says loudly which were skipped
	$(GOTEST) -- $$(go list ./... | grep -v -e /test/e2e -e /test/strength -e /test/chaos)
	$(GOTEST) -- -count=1 -p 1 ./test/e2e ./test/strength ./test/chaos   # they build the programs themselves, which the cache does not see, and judge times
	$(GOTEST) -dir deploy -- -count=1 ./...   # it reads files of the module above, which the cache does not see

test-race: ## Run the tests of concurrent code under the race detector
	$(GOTEST) -- -race $(RACY)

MODEL ?= 60s
model: ## Play random schedules of crashes, stalls and replays over the journal for MODEL (60s)
	TUMA_MODEL=$(MODEL) go test ./internal/dispatch -count=1 -v -run 'TestModel$$' -timeout 24h | grep -v '^=== '

e2e: ## Run the end-to-end tests alone, and never from the cache
	$(GOTEST) -- -count=1 ./test/e2e/...

strength: ## Prove batching, slots, priority and fairness at full size (some minutes)
	TUMA_STRENGTH=full go test -count=1 -timeout 45m -v -run TestStrength ./test/strength | grep -v '^=== '

PLAIN := grep -vE '^(=== |--- SKIP)'
crashes: ## Kill a process at each named place, for each policy and gateway (some minutes)
	go test -count=1 -timeout 60m -v -run 'TestCrashes$$' ./test/chaos -args -full | $(PLAIN)

CHAOS ?=
chaos: ## Work on an installation under load for five minutes (CHAOS="-duration 10m -seed 7 -nodes 3")
	go test -count=1 -timeout 0 -v -run 'TestChaos$$' ./test/chaos -args -duration 5m -seed 0 $(CHAOS) | $(PLAIN)

mutations: ## Take protections out one by one: the judge must go red (some minutes)
	go test -count=1 -timeout 60m -v -run 'TestMutations$$' ./test/chaos -args -full | $(PLAIN)

fuzz: ## Run each fuzz target for FUZZTIME (10s)
	@grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' internal pkg | sort | while IFS=: read -r file fn; do \
		echo "== $$(dirname $$file) $${fn#func }"; \
		go test -run '^$$' -fuzz "^$${fn#func }\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) < /dev/null; \
	done

BENCHTIME ?= 1s
bench: ## Run the benchmarks, each for BENCHTIME (1s), and see that bench-table runs
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./internal/... ./pkg/... | grep -vE '^(PASS|ok .*|\?.*)$$'
	go run ./test/bench -scale 50 -runs 1

bench-table: ## Measure Tuma beside what one could build instead: 15 quiet minutes (BENCH=-flags)
	go run ./test/bench $(BENCH)

cover: ## Write coverage.html
	go test -coverpkg=./internal/...,./pkg/... -coverprofile=coverage.out ./...
	go tool cover -html=coverage.out -o coverage.html
	@go tool cover -func=coverage.out | tail -n 1

lint: ## Run golangci-lint (the first time builds it: some minutes)
	$(LINT) run ./...

fmt: ## Format the code
	gofmt -w $$(git ls-files '*.go')

verify: ## Check formatting, vet, import rules, go.mod files and manifests
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
		[ -z "$$unformatted" ] || { echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; }
	go vet ./...
	cd deploy && go vet ./...
	go mod tidy -diff
	cd deploy && go mod tidy -diff
	go test ./test/layers ./test/deploy
	cd deploy && go test -count=1 ./...

images: ## Build the container image tuma:VERSION with all programs
	docker build --build-arg VERSION=$(VERSION) -t tuma:$(VERSION) -t tuma:dev .

clean: ## Remove what the targets above made
	rm -rf bin coverage.out coverage.html

# What a developer of Agner types. `make help` lists it.
# The checks of a submission are .ci/run, which needs no make.

GO     ?= go
TOOL   := $(GO) tool -modfile=tools/go.mod
ROUNDS ?= 15
SCALE  ?= 1
WORKS  ?=
CONTENDERS ?=
BASE   ?=
CORRECTNESS ?=
MESSAGES ?= 1000000
FAULTS   ?= 200
SEED     ?=
CLUSTER  ?= 1
MODULES := . $(patsubst %/go.mod,%,$(wildcard bench/go.mod test/go.mod outbox/go.mod tools/go.mod))

# The long form of a test: package, name, variable that makes it long. Without the
# look first, a test that was renamed would pass.
define long
@$(GO) test -list '$(2)' $(1) | grep -q ^Test || { echo "no test named $(2) in $(1)"; exit 1; }
$(3) $(GO) test $(1) -run '$(2)' -count=1 -v -timeout 60m
endef

.DEFAULT_GOAL := help
.PHONY: help all ci fmt lint test race nested fault publish-faults stall heal schedules rolling replay-faults dlq-scale cluster model inbox-chaos inbox-chaos-short inbox-sim inbox-long inbox-handover planted scale presence presence-scale fuzz bench bench-inbox inbox-memory bench-correctness tidy tidy-check links cover demo

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

all: fmt lint test race nested tidy-check links ## what to run before a commit is sent

ci: ## every step of .ci/run
	bash .ci/run

fmt: ## format all Go files (gofumpt, imports in three groups)
	$(TOOL) golangci-lint fmt .

lint: ## golangci-lint over all modules
	@bash .ci/run lint

test: ## the tests, quick
	$(GO) test ./...

race: ## the tests under the race detector, in random order
	$(GO) test -race -shuffle=on ./...

nested: ## tests against foreign programs (module test/)
	@bash .ci/run nested

fault: publish-faults stall heal schedules replay-faults cluster rolling ## all long tests under faults

publish-faults: ## 60 s of cut, delayed and dropped acknowledgements
	$(call long,./pkg/publish,Faults,AGNER_PUBLISH_FAULTS=60s)

stall: ## 10,000 failing events beside 100,000 healthy ones
	$(call long,./pkg/consume,FailingEventsDoNotStall,AGNER_STALL=long)

rolling: ## three full restarts of four instances in 60 s, under 500 calls/s and 500 events/s
	$(call long,./pkg/service,RollingDeploy,AGNER_ROLLING=60s)

replay-faults: ## 10,000 dead letters replayed, the replay killed five times
	$(call long,./cmd/natsctl,ReplayFaults,AGNER_REPLAY_FAULTS=10000)

dlq-scale: ## natsctl dlq ls over 100,000 dead letters: time and memory
	$(call long,./cmd/natsctl,DLQScale,AGNER_DLQ_SCALE=100000)

heal: ## 100 cycles of each kind of fault that heals: time to heal, goroutines, heap
	$(call long,./pkg/consume,HealCycles,AGNER_HEAL=long)

schedules: ## 10,000 events scheduled over a minute, servers killed meanwhile
	$(call long,./pkg/publish,Schedules.*Kills,AGNER_SCHEDULES=long)

cluster: ## every server of a cluster killed in turn
	$(call long,./internal/testserver,ChildCluster,AGNER_LONG=1)

model: ## 1,000,000 random steps of the supervisor against its model
	$(call long,./pkg/supervise,Model,AGNER_MODEL_STEPS=1000000)

inbox-chaos: ## an inbox under faults: MESSAGES=1000000 FAULTS=200 SEED= CLUSTER=1 (or 3)
	@$(GO) run ./internal/chaos/run inbox -messages $(MESSAGES) -faults $(FAULTS) -seed '$(SEED)' -cluster $(CLUSTER)

inbox-chaos-short: ## the same in about a minute, on three servers
	@$(MAKE) --no-print-directory inbox-chaos MESSAGES=50000 FAULTS=30 CLUSTER=3

inbox-sim: ## 1,000,000 steps of who owns what, in fake time
	$(call long,./pkg/inbox,Simulation,AGNER_SIMULATION_STEPS=1000000)

inbox-long: ## owners that come, go and are cut off, and lost answers, under full load
	$(call long,./pkg/inbox,Elastic|StaleOwner|LostAnswers,AGNER_LONG=1)

inbox-handover: ## how long an entity pauses when its instance stops or dies; wants a quiet machine
	$(call long,./internal/chaos,HandOver,AGNER_HANDOVER=1)

planted: ## bugs planted in supervisor and inbox are caught by model, simulation and fault machine
	$(call long,./pkg/supervise,Planted,AGNER_PLANTED=1)
	$(call long,./pkg/inbox,Planted,AGNER_PLANTED=1)
	$(call long,./internal/chaos,Planted,AGNER_PLANTED=1)

scale: ## 10,000 supervised children
	$(call long,./pkg/supervise,Scale,AGNER_SCALE=10000)

presence: ## 100 killed instances, a paused one, leaders of a cluster killed; the same in `make fault`, 1 to 2 minutes
	$(call long,./pkg/service,Killed|PausedProcess|LeaderKilled,AGNER_PRESENCE=long)

presence-scale: ## 1,000 instances on one server: what presence costs, and natsctl services; wants a quiet machine
	$(GO) build -o $(or $(TMPDIR),/tmp)/agner-natsctl ./cmd/natsctl
	$(call long,./pkg/service,PresenceScale,AGNER_PRESENCE_SCALE=1000 AGNER_NATSCTL=$(or $(TMPDIR),/tmp)/agner-natsctl)

fuzz: ## each fuzz target for FUZZTIME (30s)
	@bash .ci/run fuzz

bench: ## Agner beside raw nats.go: ROUNDS=15 SCALE=1 WORKS=publish-sync,… CONTENDERS=… BASE=micro
	cd bench && $(GO) run . -rounds $(ROUNDS) -scale $(SCALE) -works '$(WORKS)' -contenders '$(CONTENDERS)' -base '$(BASE)'

bench-inbox: ## the inbox beside a plain consumer, on one server and on three: backlog and latency
	cd bench && $(GO) run ./inbox -servers 1,3

inbox-memory: ## 1,000,000 keys, 10,000 cached: fails if more than 256 MiB are resident
	@cd bench && $(GO) run ./inbox -work backlog -messages 1000000 -keys 1000000 -rss 256

bench-correctness: ## Agner beside watermill-nats on bad days: lost, duplicated, reordered; CORRECTNESS='-quick -scenario order'
	cd bench && $(GO) run ./correctness $(CORRECTNESS)

tidy: ## go mod tidy in every module
	@for m in $(MODULES); do (cd $$m && $(GO) mod tidy) || exit 1; done

tidy-check: ## go.mod and go.sum are tidy in every module
	@bash .ci/run tidy

links: ## pkg/ links no server, SDK or command line
	@bash .ci/run links

cover: ## coverage of pkg/ and internal/ by all tests
	$(GO) test -coverprofile=cover.out -coverpkg=./pkg/...,./internal/... ./...
	$(GO) tool cover -func=cover.out | tail -n 1

demo: ## the story in one command
	$(GO) run ./cmd/natsctl demo

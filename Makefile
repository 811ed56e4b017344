# Everything a developer does here has a target; `make help` lists them.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.DEFAULT_GOAL := help
.PHONY: help run stack test lint bench build deploy conformance screenshots clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Serve everything at http://localhost:8788 (PORT and DATA_DIR change port and folder)
	@go build -o dist/mcp-access-oauth ./infra/local
	@exec dist/mcp-access-oauth

test: ## Run every test; installs what it needs (SUITE=unit,journeys,browser runs only those)
	@go run ./test/run $(if $(SUITE),-suite $(SUITE))

lint: ## Check formatting, vet, staticcheck and known vulnerabilities
	@unformatted=$$(git ls-files -z '*.go' | xargs -0 gofmt -l); \
	 test -z "$$unformatted" || { echo "gofmt would change:" $$unformatted; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	@sh test/govulncheck.sh $(GOVULNCHECK)

bench: ## Print what authentication costs: calls, refreshes, registrations; and how fast functions start and streams arrive
	@go test ./test/bench -run "^$$" -bench . -benchtime 1x

conformance: ## Run the official MCP conformance suite against the production stack
	@go run ./test/run -suite conformance

screenshots: ## Take pictures of every page into dist/screenshots, and renew those of the README
	@SCREENSHOTS=$(CURDIR)/dist/screenshots go run ./test/run -suite browser
	@cp dist/screenshots/consent-desktop-light.png dist/screenshots/client.png docs/images/

# The functions are built as template.yaml has them built: static, stripped, without Lambda's RPC mode.
FUNCTIONS := $(notdir $(wildcard functions/*))
HOST_ARCH := $(shell go env GOARCH)
build-%:
	@for function in $(FUNCTIONS); do \
	  echo "  dist/$*/$$function/bootstrap"; \
	  GOOS=linux GOARCH=$* CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -tags lambda.norpc \
	    -o dist/$*/$$function/bootstrap ./functions/$$function || exit 1; \
	done

build: build-arm64 build-amd64 ## Build the Lambda functions for both architectures: dist/ARCH/FUNCTION/bootstrap

stack: build-$(HOST_ARCH) ## Run the built functions as AWS does, without Docker: login at PORT (8788), MCP at PORT+1
	@test -d test/node_modules/dynalite || (cd test && npm ci)
	@go build -o dist/stack ./infra/stack
	@exec dist/stack

# sam's Go builder takes no flags of its own: GOFLAGS carries them, quoted, for one holds a space.
deploy: export CGO_ENABLED := 0
deploy: export GOFLAGS := -trimpath "-ldflags=-s -w" -tags=lambda.norpc
deploy: ## Build and deploy to AWS, asking for the parameters (docs/deploy.md)
	@command -v sam > /dev/null || { echo "deploy: needs the AWS SAM CLI and AWS credentials; see docs/deploy.md"; exit 1; }
	sam build
	sam deploy --guided

clean: ## Remove what the other targets made, but never DATA_DIR
	rm -rf dist .aws-sam test/node_modules

# just is optional: each recipe is one command that works without it.

# gofmt, vet, staticcheck and the build for a Mac
check:
    test -z "$(gofmt -l .)"
    go vet ./...
    go tool staticcheck ./...
    GOOS=darwin GOARCH=arm64 go vet ./...

# every test, with what they need installed first (Debian, root)
test *ARGS:
    go run ./examples/lab test {{ARGS}}

# the nix of another Debian suite, for test-nix: just nix-of sid /opt/nix-2.34
nix-of SUITE FOLDER:
    examples/lab/nix-of.sh {{SUITE}} {{FOLDER}}

# the tests with two versions of nix, each a folder of programs: just test-nix /usr/bin /opt/nix-2.34/usr/bin
test-nix CLIENT HOST *ARGS:
    {{CLIENT}}/nix --version
    {{HOST}}/nix --version
    PATH={{CLIENT}}:$PATH INFRA_TEST_NIX_HOST={{HOST}} go test -timeout=40m ./builtins/nix ./cmd/infra {{ARGS}}

# a real run on the stand-in fleet: just lab run plans/blackphos.star
lab *ARGS:
    go run ./examples/lab {{ARGS}}

# start-up, reading, dry runs, the journal, status, terraform, hosts, a switch, watch; beside ansible, or the same by hand
bench *NAMES:
    go run ./examples/bench {{NAMES}}

# rewrite the expected outputs; review the difference
golden:
    UPDATE=1 go test ./cmd/infra ./builtins/...

# a minute of each fuzz test
fuzz:
    #!/bin/sh
    set -eu
    for file in $(git grep -l '^func Fuzz' -- '*_test.go'); do
        for name in $(grep -oE '^func Fuzz[A-Za-z]+' "$file" | cut -c6-); do
            go test "./$(dirname "$file")" -run '^$' -fuzz "^$name\$" -fuzztime 1m
        done
    done

build:
    go build -trimpath -tags disable_grpc_modules -ldflags "-s -w" -o bin/infra ./cmd/infra

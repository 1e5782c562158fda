# make build   the program, in bin/isthmus
# make demo    share a directory with a real guest and watch the guest use it
# make test    every test, those with real guests included
# make bench   Go benchmarks of the request path
# make bench-mount  isthmus mount beside the bare directory, and beside others with
#              BENCH_MOUNT="--peer NAME=COMMAND" (docs/performance.md)
# make fuzz    each fuzz target for FUZZTIME
# make install the program, completions, man pages and what QEMU's users look for, below PREFIX

export CGO_ENABLED = 0
export GOFLAGS += -trimpath

PREFIX   ?= /usr/local
FUZZTIME ?= 10m
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# scripts/setup installs what is missing and says where a newer Go lies, if this
# machine's own is too old.
setup = set -e; extra=$$(scripts/setup $(1)); [ -z "$$extra" ] || export PATH="$$extra:$$PATH";

.PHONY: build demo test vet race bench bench-mount fuzz install clean

build:
	@$(call setup,build) go build -ldflags "-s -w -X github.com/isthmus-fs/isthmus/internal/cli.version=$(VERSION)" -o bin/isthmus ./cmd/isthmus

demo:
	@$(call setup,demo) $(MAKE) --no-print-directory build && scripts/demo

test:
	@$(call setup,test) $(MAKE) --no-print-directory build && scripts/test

bench:
	@$(call setup,build) go test -run '^$$' -bench . -benchmem ./...

bench-mount:
	@$(call setup,build) $(MAKE) --no-print-directory build && go run ./internal/benchmount $(BENCH_MOUNT)

fuzz:
	@$(call setup,build) FUZZTIME=$(FUZZTIME) scripts/fuzz

install: build
	install -D -m 755 bin/isthmus $(DESTDIR)$(PREFIX)/bin/isthmus
	for shell in bash zsh fish; do \
		bin/isthmus completion $$shell >bin/completion.$$shell || exit 1; \
	done
	install -D -m 644 bin/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/isthmus
	install -D -m 644 bin/completion.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_isthmus
	install -D -m 644 bin/completion.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/isthmus.fish
	go run ./internal/mangen bin/man
	for page in bin/man/*.1; do \
		install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man1/$$(basename $$page) || exit 1; \
	done
	install -d $(DESTDIR)$(PREFIX)/libexec/isthmus
	ln -sfn ../../bin/isthmus $(DESTDIR)$(PREFIX)/libexec/isthmus/virtiofsd
	ln -sfn ../../bin/isthmus $(DESTDIR)$(PREFIX)/libexec/isthmus/uhyve
	sed 's|@virtiofsd@|$(PREFIX)/libexec/isthmus/virtiofsd|' share/qemu/vhost-user/50-isthmus-virtiofsd.json.in >bin/50-isthmus-virtiofsd.json
	install -D -m 644 bin/50-isthmus-virtiofsd.json $(DESTDIR)$(PREFIX)/share/qemu/vhost-user/50-isthmus-virtiofsd.json

clean:
	rm -rf bin

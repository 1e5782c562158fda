package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// TestOwnerAndGuest has a daemon serve what a configuration file says, and its owner look at
// it and change it through the control socket, metrics and access log, while a guest works. It
// does so with file handles and, under Landlock's path rules, without.
func TestOwnerAndGuest(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"handles":     nil,
		"descriptors": {"--file-handles=never"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ownerAndGuest(t, flags)
		})
	}
}

func ownerAndGuest(t *testing.T, flags []string) {
	dir, run := t.TempDir(), t.TempDir()
	write := func(path, text string) string {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("work/file", "of the host\n")
	lone := write("lone", "alone\n")
	write("later/inside", "came later\n")
	if err := writeTar(filepath.Join(dir, "root.tar")); err != nil {
		t.Fatal(err)
	}
	config := write("vm.toml", `
tag = "`+tag+`"
socket = "`+run+`/s"
control = "`+run+`/ctl"
audit = "`+run+`/log"
metrics = "0"
allow-source = ["`+dir+`/later"]

[[share]]
type = "archive"
source = "root.tar"

[[share]]
source = "work"
target = "/work"
translate-uid = ["map:7:0:1"]

[[share]]
source = "lone"
target = "/etc/lone"
unlink = "delete"

[[share]]
type = "scratch"
target = "/tmp"
mode = "1777"
size = "1M"

[[share]]
type = "overlay"
source = "work"
target = "/over"
`)
	d := launch{socket: filepath.Join(run, "s")}.run(t, append([]string{"serve", "--config", config}, flags...)...)
	d.waitLog("waiting for a VM")

	in, typing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cfg := guest(lab.UML, d, sh(`
		cd `+mountedAt+`
		cat f work/file etc/lone
		stat -c %u work/file
		dd if=/dev/zero of=tmp/big bs=64k count=32 2>/dev/null || echo full
		rm tmp/big
		echo changed >over/file
		exec 5>>tmp/open
		echo text >&5
		echo 1
		read go
		cat later/inside
		rm etc/lone
		ls etc
		exec 6<later/inside
		echo 2
		read go
		head -c1 <&6 2>/dev/null || echo stale
		sleep 1.1
		ls -d later 2>&1 || true
		echo 3`)...)
	cfg.Stdin = in
	said := make(chan string, 100)
	cfg.Stdout = writerFunc(func(p []byte) { said <- string(p) })
	cfg.Stderr = cfg.Stdout
	ended := make(chan error, 1)
	go func() {
		_, err := lab.Run(t.Context(), cfg)
		ended <- err
	}()
	// hear returns what the guest says up to a line.
	hear := func(last string) string {
		t.Helper()
		var all string
		for {
			select {
			case p := <-said:
				if all += p; strings.HasSuffix(all, last+"\n") {
					return strings.TrimSuffix(all, last+"\n")
				}
			case err := <-ended:
				t.Fatalf("the guest ended: %v; it said %q", err, all)
			case <-time.After(patience):
				t.Fatalf("the guest said %q, and not %q", all, last)
			}
		}
	}
	ctl := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(isthmus, append([]string{"ctl", "--socket", filepath.Join(run, "ctl")}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("ctl %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	expect := func(what, got string, patterns ...string) {
		t.Helper()
		for _, p := range patterns {
			if !regexp.MustCompile("(?m)" + p).MatchString(got) {
				t.Errorf("%s: nothing is like %q in\n%s", what, p, got)
			}
		}
	}

	if got, want := hear("1"), churnText+"of the host\nalone\n7\nfull\n"; got != want {
		t.Errorf("the guest said %q, want %q", got, want)
	}
	expect("mounts", ctl("mounts"), `^/ +archive `, `^/work +dir `, `^/etc/lone +file `, `^/tmp +scratch `, `^/over +overlay `)
	expect("files", ctl("files"), `/tmp/open`)
	expect("stats", ctl("stats"), `LOOKUP`, `WRITE`)
	expect("log level", ctl("log-level"), `^info$`)
	ctl("log-level", "debug")
	expect("log level", ctl("log-level"), `^debug$`)
	ctl("add", "--within", filepath.Join(dir, "later"), filepath.Join(dir, "later")+":/later:ro")
	expect("mounts", ctl("mounts"), `^/later +dir `)
	expect("metrics", scrape(t, d), `^isthmus_fuse_requests_total\{op="LOOKUP"\} [1-9]`, `^isthmus_written_bytes_total [1-9]`, `^isthmus_nodes\{mount="/later"\} `)
	if b, err := os.ReadFile(filepath.Join(dir, "work", "file")); string(b) != "of the host\n" {
		t.Errorf("what the guest did to an overlay reached the host: %q, %v", b, err)
	}

	typing.WriteString("go\n")
	if got, want := hear("2"), "came later\n"; got != want {
		t.Errorf("the guest said %q, want %q", got, want)
	}
	if _, err := os.Lstat(lone); !os.IsNotExist(err) {
		t.Errorf("the file that the guest removed: %v", err)
	}
	ctl("remove", "/later/") // as a shell completes directories
	typing.WriteString("go\n")
	if got := hear("3"); !strings.Contains(got, "No such file") {
		t.Errorf("after the removal the guest said %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	d.stop(syscall.SIGTERM)
	for _, left := range []string{"ctl", "ctl.pid"} {
		if _, err := os.Lstat(filepath.Join(run, left)); err == nil {
			t.Errorf("%s is left behind", left)
		}
	}
	checkAccessLog(t, filepath.Join(run, "log"), map[string]string{
		"unlink": "/etc/lone", "write": "/tmp/open", "open": "/work/file", "create": "/tmp/big",
	})
}

// scrape reads the daemon's metrics, whose port the log has.
func scrape(t *testing.T, d *daemon) string {
	t.Helper()
	d.waitLog("serving metrics")
	address := regexp.MustCompile(`serving metrics" address=(\S+)`).FindStringSubmatch(d.log.String())
	resp, err := http.Get("http://" + address[1] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %v, %v", resp.Status, err)
	}
	return string(b)
}

// checkAccessLog wants a line with each operation on a path, and all lines to be JSON.
func checkAccessLog(t *testing.T, path string, ops map[string]string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the access log has the mode %v", info.Mode())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range bytes.Lines(b) {
		var r struct {
			Time time.Time
			Op   string
			Path any
			UID  *uint32
			PID  *uint32
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if r.Time.IsZero() || r.Op != "" && (r.UID == nil || r.PID == nil) {
			t.Fatalf("something is missing: %s", line)
		}
		seen[fmt.Sprint(r.Op, " ", r.Path)] = true
	}
	for op, path := range ops {
		if !seen[op+" "+path] {
			t.Errorf("the access log has no %s of %s:\n%s", op, path, b)
		}
	}
}

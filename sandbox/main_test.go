//go:build !cgo

package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A test starts this test program again: as the preparing process, which makes of
// itself what a test wants to begin with, and then as the outer one, which calls Start. The
// inner one runs a probe, a function of this table.
var probes = map[string]func(*Inner, *job) (any, error){
	"look":      probeLook,
	"threads":   probeThreads,
	"layers":    probeLayers,
	"fds":       probeFDs,
	"exit":      probeExit,
	"wait":      probeWait,
	"submount":  probeSubmount,
	"maps":      probeMaps,
	"view":      probeView,
	"several":   probeSeveral,
	"noSandbox": probeNoSandbox,
}

// job is what a test wants done.
type job struct {
	Config Config
	Probe  string
	Arg    string

	// For the preparing process, which is root: mounts to make for itself alone, source
	// and target, a new root, a file to leave open for the inner process to find, and
	// the user to become.
	Binds  [][2]string
	Chroot string
	Leak   string
	UID    int
	Groups []int
	// NoNewPrivs sets that flag.
	NoNewPrivs bool

	// Lifeline hands over a file to the inner process: the write end of a pipe, so that
	// the test sees its end, if the test gives none of its own.
	Lifeline bool
}

const (
	envJob   = "SANDBOX_TEST_JOB"
	envStage = "SANDBOX_TEST_STAGE"
)

// report is a line of output.
type report struct {
	From string // outer or inner
	Err  string
	Data json.RawMessage
}

func say(from string, data any, err error) {
	r := report{From: from}
	if err != nil {
		r.Err = err.Error()
	}
	r.Data, _ = json.Marshal(data)
	line, _ := json.Marshal(r)
	os.Stdout.Write(append(line, '\n'))
}

func TestMain(m *testing.M) {
	spec := os.Getenv(envJob)
	if spec == "" {
		os.Exit(m.Run())
	}
	var j job
	if err := json.Unmarshal([]byte(spec), &j); err != nil {
		panic(err)
	}
	in, err := Inherited()
	switch {
	case err != nil:
		say("inner", nil, err)
		os.Exit(2)
	case in != nil || os.Getenv(envStage) == "outer" && j.Config.Mode != ModeNamespace:
		data, err := probes[j.Probe](in, &j)
		say("inner", data, err)
		if in != nil {
			in.Ready()
		}
	case os.Getenv(envStage) == "outer":
		os.Exit(outer(&j))
	default:
		panic(prepare(&j))
	}
}

// prepare becomes the outer process.
func prepare(j *job) error {
	for _, b := range j.Binds {
		if err := unix.Mount(b[0], b[1], "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", b, err)
		}
	}
	if j.Chroot != "" {
		if err := errors.Join(unix.Chroot(j.Chroot), os.Chdir("/")); err != nil {
			return err
		}
	}
	if j.Leak != "" {
		if _, err := syscall.Open(j.Leak, syscall.O_RDONLY, 0); err != nil {
			return err
		}
	}
	if err := syscall.Setgroups(j.Groups); err != nil {
		return err
	}
	if j.UID != 0 {
		if err := errors.Join(syscall.Setgid(j.UID), syscall.Setuid(j.UID)); err != nil {
			return err
		}
	}
	if j.NoNewPrivs {
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), envStage+"=outer"))
}

// outerState is what the outer process says of itself once the inner one runs.
type outerState struct {
	Inner     int // pid
	Caps      []string
	NoNewPriv []string
}

// notPermitted marks an error that is ErrNotPermitted.
const notPermitted = "not permitted: "

func outer(j *job) int {
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	var files []*os.File
	if j.Lifeline {
		files = append(files, os.NewFile(3, "lifeline"))
	}
	p, err := Start(&j.Config, files...)
	if err != nil {
		if errors.Is(err, ErrNotPermitted) {
			err = fmt.Errorf("%s%w", notPermitted, err)
		}
		say("outer", nil, err)
		return 100
	}
	go func() {
		for s := range sigs {
			p.Signal(s)
		}
	}()
	done := make(chan struct{})
	go func() {
		p.Wait()
		close(done)
	}()
	select {
	case <-p.Ready():
		var st outerState
		st.Inner = p.proc.Pid
		st.Caps, st.NoNewPriv = threadStatus("/proc/self/task")
		say("outer", st, nil)
	case <-done:
	}
	status, err := p.Wait()
	if err != nil {
		say("outer", nil, err)
	}
	return status
}

// session is a running job.
type session struct {
	t        *testing.T
	cmd      *exec.Cmd
	out      *bufio.Reader
	lifeline *os.File
	waited   bool
}

func (j job) start(t *testing.T, env ...string) *session {
	t.Helper()
	return j.startWith(t, nil, env...)
}

// startWith is start with a file to hand over.
func (j job) startWith(t *testing.T, file *os.File, env ...string) *session {
	t.Helper()
	spec, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, cmd: exec.Command("/proc/self/exe")}
	s.cmd.Args[0] = "sandbox-test"
	s.cmd.Dir = "/"
	s.cmd.Env = append(append(os.Environ(), envJob+"="+string(spec)), env...)
	s.cmd.Stderr = os.Stderr
	if j.Binds != nil {
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewReader(stdout)
	switch {
	case file != nil:
		s.cmd.ExtraFiles = []*os.File{file}
	case j.Lifeline:
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		s.lifeline = r
		s.cmd.ExtraFiles = []*os.File{w}
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.waited {
			s.cmd.Process.Kill()
			s.cmd.Wait()
		}
		if s.lifeline != nil {
			s.lifeline.Close()
		}
	})
	return s
}

// next reads the next report, which is to come from the inner or the outer
// process, into data.
func (s *session) next(from string, data any) (failure string) {
	s.t.Helper()
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		s.t.Fatalf("no report from the %s process: %v", from, err)
	}
	var r report
	if err := json.Unmarshal(line, &r); err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	if r.From != from {
		s.t.Fatalf("report from %s rather than %s: %s", r.From, from, line)
	}
	if data != nil {
		if r.Err != "" {
			s.t.Fatalf("%s process: %s", from, r.Err)
		}
		if err := json.Unmarshal(r.Data, data); err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
	}
	return r.Err
}

// wait returns the exit status of the outer process.
func (s *session) wait() int {
	s.t.Helper()
	io.Copy(io.Discard, s.out)
	s.waited = true
	err := s.cmd.Wait()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		s.t.Fatal(err)
	}
	return s.cmd.ProcessState.ExitCode()
}

// innerGone waits until no process holds the handed-over file.
func (s *session) innerGone() {
	s.t.Helper()
	if _, err := s.lifeline.Read(make([]byte, 1)); err != io.EOF {
		s.t.Fatalf("lifeline: %v, not its end", err)
	}
}

// threadStatus is the sets of capabilities and the no_new_privs flag of each
// thread, without repetitions.
func threadStatus(dir string) (caps, nnp []string) {
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}, nil
	}
	seen := map[string]bool{}
	add := func(list *[]string, v string) {
		if !seen[v] {
			seen[v] = true
			*list = append(*list, v)
		}
	}
	for _, task := range tasks {
		b, err := os.ReadFile(filepath.Join(dir, task.Name(), "status"))
		if err != nil {
			continue // the thread has ended
		}
		var sets []string
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			switch {
			case strings.HasPrefix(line, "Cap"):
				sets = append(sets, strings.TrimLeft(f[1][:len(f[1])-1], "0")+f[1][len(f[1])-1:])
			case strings.HasPrefix(line, "NoNewPrivs"):
				add(&nnp, line)
			}
		}
		add(&caps, strings.Join(sets, " "))
	}
	return caps, nnp
}

// testDir is a directory below /tmp that every user can reach, with a share and a
// secret beside it.
func testDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandbox-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, err := range []error{
		os.Chmod(dir, 0o755),
		os.Mkdir(filepath.Join(dir, "share"), 0o777),
		os.Chmod(filepath.Join(dir, "share"), 0o777),
		os.WriteFile(filepath.Join(dir, "share", "file"), []byte("shared"), 0o644),
		os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o644),
		os.Symlink("../secret", filepath.Join(dir, "share", "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	testUser = 12345
	subUID   = 300000
	subGID   = 400000
)

// asUser makes a job one of an ordinary user that has subordinate ids.
func (j job) asUser(t *testing.T, dir string) job {
	t.Helper()
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{
		"passwd": string(passwd) + fmt.Sprintf("sandboxer:x:%d:%d::/:/bin/sh\n", testUser, testUser),
		"subuid": fmt.Sprintf("sandboxer:%d:1000\nother:500000:1000\n", subUID),
		"subgid": fmt.Sprintf("sandboxer:%d:1000\n", subGID),
	} {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		target := "/etc/" + file
		if _, err := os.Stat(target); err != nil {
			t.Fatalf("%v (is the package uidmap installed?)", err)
		}
		j.Binds = append(j.Binds, [2]string{path, target})
	}
	j.UID = testUser
	return j
}

var wholeUIDs = []IDMap{{0, testUser, 1}, {1, subUID, 1000}}
var wholeGIDs = []IDMap{{0, testUser, 1}, {1, subGID, 1000}}

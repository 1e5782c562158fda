package fusedev_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fusedev"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// jobs are what this binary does instead of running tests when jobVar names one.
// The argument is in argVar.
var jobs = map[string]func(arg string) error{
	"serve": serveJob,
	"read":  readJob,
	"hold":  holdJob,
	"lock":  lockJob,
	"toil":  toilJob,
}

const (
	jobVar = "ISTHMUS_FUSEDEV_JOB"
	argVar = "ISTHMUS_FUSEDEV_ARG"
)

func TestMain(m *testing.M) {
	if job, ok := jobs[os.Getenv(jobVar)]; ok {
		if err := job(os.Getenv(argVar)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// nobody is an ordinary user who is in /etc/passwd everywhere.
var nobody = &syscall.Credential{Uid: 65534, Gid: 65534}

// job prepares this binary to do a job, as a user if one is given.
func job(name, arg string, who *syscall.Credential) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), jobVar+"="+name, argVar+"="+arg)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Pdeathsig: unix.SIGKILL}
	cmd.Dir = "/"
	return cmd
}

// serving is what the job "serve" is told.
type serving struct {
	From, To string
	Options  fusedev.Options
	Config   passthrough.Config
	Backed   bool // with backing files
}

// serveJob serves a mount until SIGTERM and says so in a line on its output.
func serveJob(arg string) error {
	var s serving
	if err := json.Unmarshal([]byte(arg), &s); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	s.Config.Path, s.Config.Logger = s.From, quiet
	fs, err := passthrough.New(s.Config)
	if err != nil {
		return err
	}
	defer fs.Close()
	var served vfs.FileSystem = fs
	if s.Backed {
		b := newBacked(fs)
		served, s.Options.Backing = b, b
	}
	m, err := fusedev.Mount(ctx, fuse.NewServer(served, fuse.Options{Logger: quiet}), s.To, s.Options)
	if err != nil {
		return err
	}
	if m.Passthrough() != s.Backed {
		return fmt.Errorf("passthrough is %v", m.Passthrough())
	}
	fmt.Println("ready")
	return m.Wait()
}

// startServing starts the job "serve" and waits until it is ready.
func startServing(t testing.TB, s serving, who *syscall.Credential) *exec.Cmd {
	t.Helper()
	cmd := job("serve", encode(t, s), who)
	cmd.Stderr = failWriter{t}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("server: %v", cmd.Wait())
	}
	return cmd
}

func encode(t testing.TB, s serving) string {
	t.Helper()
	arg, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(arg)
}

// holdJob keeps a directory open until its input ends.
func holdJob(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Print("x")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// readJob prints the first byte of a file, or why it cannot.
func readJob(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	_, err = f.Read(b[:])
	fmt.Printf("%s", b[:])
	return err
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// tempDir makes a directory that all users may enter, with the given mode.
func tempDir(t testing.TB, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "isthmus-fusedev-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// scene is a directory, and a mount of it that this process serves.
type scene struct {
	from, to string
	fs       *passthrough.FS
	m        *fusedev.Mounted
	end      context.CancelFunc
}

// mount makes a scene. At the test's end the mount must end, without an error.
func mount(t testing.TB, opt fusedev.Options, cfg passthrough.Config) *scene {
	t.Helper()
	return mountWith(t, opt, fuse.Options{}, cfg)
}

func mountWith(t testing.TB, opt fusedev.Options, srv fuse.Options, cfg passthrough.Config) *scene {
	t.Helper()
	srv.Logger = quiet
	s := &scene{from: tempDir(t, 0o755), to: tempDir(t, 0o755)}
	cfg.Path, cfg.Logger, opt.Logger = s.from, quiet, testLogger(t)
	var err error
	if s.fs, err = passthrough.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	s.m, err = fusedev.Mount(ctx, fuse.NewServer(s.fs, srv), s.to, opt)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	settle(t, s.from, s.to)
	t.Cleanup(func() {
		cancel()
		if err := s.m.Wait(); err != nil {
			t.Errorf("the mount ended with %v", err)
		}
		if st := s.fs.Stats(); st.Handles != 0 || st.Nodes != 1 {
			t.Errorf("after the end there are %d handles and %d nodes", st.Handles, st.Nodes)
		}
		s.fs.Close()
		if mounts(t, s.to) != "" {
			t.Errorf("%s is still mounted", s.to)
		}
	})
	return s
}

// settle makes a mount of from fit for use by this process, which serves it. Go
// registers a file that it opens with epoll; FUSE asks the server, which must not
// be stopped for the garbage collector meanwhile. The kernel asks only once, so
// another process opens the first file.
func settle(t testing.TB, from, to string) {
	t.Helper()
	const first = "first"
	write(t, filepath.Join(from, first), "x")
	defer os.Remove(filepath.Join(from, first))
	if out, err := job("read", filepath.Join(to, first), nil).CombinedOutput(); err != nil {
		t.Fatalf("first read: %v: %s", err, out)
	}
}

// testLogger makes a failure of what the door logs.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(failWriter{t}, nil))
}

type failWriter struct{ t testing.TB }

func (w failWriter) Write(p []byte) (int, error) {
	w.t.Errorf("logged: %s", p)
	return len(p), nil
}

// mounts returns the line of /proc/self/mountinfo about dir, or "".
func mounts(t testing.TB, dir string) string {
	t.Helper()
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == dir {
			return line
		}
	}
	return ""
}

func (s *scene) at(name string) string   { return filepath.Join(s.to, name) }
func (s *scene) host(name string) string { return filepath.Join(s.from, name) }

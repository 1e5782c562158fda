package passthrough

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// childDir is set, to the directory to work in, in a process that runTestAs
// started.
const childDir = "PASSTHROUGH_TEST_CHILD"

// runTestAs runs body in a process of its own, with rights of its own, in a
// directory that prepare filled. Whatever prepare changes in its thread holds
// for the new process and ends with the thread.
func runTestAs(t *testing.T, attr *syscall.SysProcAttr, prepare func(t *testing.T, dir string), body func(t *testing.T, dir string)) {
	t.Helper()
	if dir := os.Getenv(childDir); dir != "" {
		body(t, dir)
		return
	}
	dir := tempDir(t, "")
	done := make(chan struct{})
	go func() { // on a thread that is not used again
		defer close(done)
		runtime.LockOSThread()
		prepare(t, dir)
		cmd := exec.Command(copyOfTest(t, dir), "-test.v", "-test.run="+onlyTest(t.Name()))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.SysProcAttr = attr
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Errorf("%v\n%s", err, out)
		}
	}()
	<-done
}

// onlyTest is the pattern of one test or subtest.
func onlyTest(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = "^" + regexp.QuoteMeta(parts[i]) + "$"
	}
	return strings.Join(parts, "/")
}

// copyOfTest copies the test binary, which may lie where only its owner gets at
// it, into dir.
func copyOfTest(t *testing.T, dir string) string {
	exe := join(dir, "test")
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Error(err)
		return ""
	}
	defer from.Close()
	to, err := os.OpenFile(exe, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Error(err)
		return ""
	}
	_, err = io.Copy(to, from)
	if err1 := to.Close(); err != nil || err1 != nil {
		t.Error(err, err1)
	}
	return exe
}

// hostFile makes a file as the host's administrator would.
func hostFile(t *testing.T, path string, mode uint32, uid, gid int) {
	write(t, path, "content")
	if err := os.Chown(path, uid, gid); err != nil {
		t.Error(err)
	}
	if err := unix.Chmod(path, mode); err != nil {
		t.Error(err)
	}
}

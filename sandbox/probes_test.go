//go:build !cgo

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// tryTo is "ok" or the name of the error.
func tryTo(err error) string {
	if err == nil {
		return "ok"
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func tryOpen(dir int, path string, flags int) string {
	fd, err := unix.Openat(dir, path, flags|unix.O_CLOEXEC, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return tryTo(err)
}

// sight is what a process in the sandbox sees.
type sight struct {
	Pid        int
	UID, GID   int
	Groups     []int
	Path       string
	Root       []string // names in the root directory
	Mount      int64    // flags of the share's mount
	Interfaces []string
	Tried      map[string]string
}

const stNosymfollow = 0x2000 // ST_NOSYMFOLLOW, linux/statfs.h

// probeLook looks around in the sandbox. The argument is a path of the host outside
// of the share.
func probeLook(in *Inner, j *job) (any, error) {
	v, err := Enter(&j.Config)
	if err != nil {
		return nil, err
	}
	s := sight{Pid: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), Path: v.Paths[0]}
	if s.Groups, err = os.Getgroups(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		s.Root = append(s.Root, e.Name())
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(v.Paths[0], &fs); err != nil {
		return nil, err
	}
	s.Mount = fs.Flags
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range ifs {
		s.Interfaces = append(s.Interfaces, i.Name)
	}

	proc := int(v.ProcSelfFD.Fd())
	file, err := unix.Open(filepath.Join(v.Paths[0], "file"), unix.O_PATH|unix.O_CLOEXEC, 0)
	if s.Path != "/" {
		file, err = unix.Open(v.Paths[0], unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, err
	}
	name := strconv.Itoa(file)
	s.Tried = map[string]string{
		"secret":             tryOpen(unix.AT_FDCWD, j.Arg, unix.O_RDONLY),
		"link":               tryOpen(unix.AT_FDCWD, "/link", unix.O_RDONLY),
		"parent":             tryOpen(unix.AT_FDCWD, "/../secret", unix.O_RDONLY),
		"proc":               tryOpen(unix.AT_FDCWD, "/proc/self/status", unix.O_RDONLY),
		"reopen":             tryOpen(proc, name, unix.O_RDONLY),
		"reopen by cwd":      tryOpen(unix.AT_FDCWD, name, unix.O_RDONLY),
		"proc parent":        tryOpen(proc, "../status", unix.O_RDONLY),
		"proc 2 parents":     tryOpen(proc, "../../self/root", unix.O_PATH),
		"proc parent is fd/": tryOpen(proc, "../"+name, unix.O_RDONLY),
		"write":              tryOpen(unix.AT_FDCWD, "/made", unix.O_CREAT|unix.O_WRONLY),
		"mkdir":              tryTo(os.Mkdir("/dir", 0o755)),
		"chown":              tryTo(os.Chown("/made", 5, 6)),
		"connect":            dial(),
	}
	if err := unix.Mknod("/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err == nil {
		s.Tried["device"] = tryOpen(unix.AT_FDCWD, "/null", unix.O_RDWR)
	}
	return s, nil
}

// probeSeveral tries to write into each of several shares. The argument is a path of the
// host outside of them.
func probeSeveral(in *Inner, j *job) (any, error) {
	v, err := Enter(&j.Config)
	if err != nil {
		return nil, err
	}
	var root []string
	entries, err := os.ReadDir("/")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		root = append(root, e.Name())
	}
	_, err = Lock(&j.Config)
	const create = unix.O_CREAT | unix.O_WRONLY
	return map[string]string{
		"paths":      strings.Join(v.Paths, " "),
		"root":       strings.Join(root, " "),
		"write 0":    tryOpen(unix.AT_FDCWD, v.Paths[0]+"/new", create),
		"write 2":    tryOpen(unix.AT_FDCWD, v.Paths[2]+"/new", create),
		"write root": tryOpen(unix.AT_FDCWD, "/new", create),
		"secret":     tryOpen(unix.AT_FDCWD, j.Arg, unix.O_RDONLY),
	}, err
}

func dial() string {
	c, err := net.Dial("udp", "192.0.2.1:9")
	if err == nil {
		c.Close()
	}
	return tryTo(err)
}

// probeView reports how the share is reached, and what is there.
func probeView(in *Inner, j *job) (any, error) {
	v, err := Enter(&j.Config)
	if err != nil {
		return nil, err
	}
	var what string
	if b, err := os.ReadFile(v.Paths[0]); err == nil {
		what = string(b)
	} else if entries, err := os.ReadDir(v.Paths[0]); err == nil {
		for _, e := range entries {
			what += e.Name() + " "
		}
	}
	return []string{v.Paths[0], what, fmt.Sprint(v.ProcSelfFD != nil)}, nil
}

// threads is what [Lock] did.
type threads struct {
	Layers          []string
	Caps, NoNewPriv []string
}

// probeThreads has threads of every kind, locks the process up and reports their
// rights.
func probeThreads(in *Inner, j *job) (any, error) {
	// Opened while there is a /proc.
	task, err := os.Open("/proc/self/task")
	if err != nil {
		return nil, err
	}
	dir := fmt.Sprintf("/proc/self/fd/%d", task.Fd())
	if _, err := Enter(&j.Config); err != nil {
		return nil, err
	}
	if j.Config.Mode != ModeNone {
		if err := unix.Fchdir(int(task.Fd())); err != nil {
			return nil, err
		}
		dir = "."
	}
	hold := make(chan struct{})
	defer close(hold)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	var up sync.WaitGroup
	for range 4 {
		up.Add(2)
		go func() { // parked
			runtime.LockOSThread()
			up.Done()
			<-hold
		}()
		go func() { // in a system call
			runtime.LockOSThread()
			up.Done()
			unix.Read(int(r.Fd()), make([]byte, 1))
		}()
	}
	up.Wait()
	var t threads
	if t.Layers, err = Lock(&j.Config); err != nil {
		return nil, err
	}
	for range 4 { // threads that come later
		up.Add(1)
		go func() {
			runtime.LockOSThread()
			up.Done()
			<-hold
		}()
	}
	up.Wait()
	t.Caps, t.NoNewPriv = threadStatus(dir)
	return t, nil
}

// probeLayers locks the process up whole.
func probeLayers(in *Inner, j *job) (any, error) {
	if _, err := Enter(&j.Config); err != nil {
		return nil, err
	}
	return Lock(&j.Config)
}

// probeFDs lists the descriptors of the inner process and what they lead to,
// without those that the Go runtime makes for itself: of anonymous inodes, and of
// the cgroup's CPU limits.
func probeFDs(in *Inner, j *job) (any, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	fds := map[string]string{}
	for _, n := range names {
		target, err := os.Readlink("/proc/self/fd/" + n)
		if err == nil && n != strconv.Itoa(int(dir.Fd())) &&
			!strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "/sys/fs/cgroup/") {
			if kind, _, ok := strings.Cut(target, ":["); ok {
				target = kind
			}
			flags, err := unix.FcntlInt(uintptr(must(strconv.Atoi(n))), unix.F_GETFD, 0)
			if err == nil && flags&unix.FD_CLOEXEC != 0 {
				target += " cloexec"
			}
			fds[n] = target
		}
	}
	_, set := os.LookupEnv(envInner)
	return map[string]any{"FDs": fds, "Env": set, "Files": len(in.Files)}, nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// probeExit ends the way that the argument says: with a status or by a signal.
func probeExit(in *Inner, j *job) (any, error) {
	n := must(strconv.Atoi(j.Arg))
	if n >= 0 {
		os.Exit(n)
	}
	select {} // the test sends the signal
}

// probeWait enters the sandbox, says so, and waits for a signal to give as its
// status. With the argument "forget" the parent-death signal is switched off.
func probeWait(in *Inner, j *job) (any, error) {
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	if _, err := Enter(&j.Config); err != nil {
		return nil, err
	}
	if j.Arg == "forget" {
		if err := prctlAll(unix.PR_SET_PDEATHSIG, 0); err != nil {
			return nil, err
		}
	}
	if err := in.Ready(); err != nil {
		return nil, err
	}
	s := <-sigs
	os.Exit(50 + int(s.(unix.Signal)))
	return nil, nil
}

// probeSubmount waits until the host has mounted something in the share.
func probeSubmount(in *Inner, j *job) (any, error) {
	if _, err := Enter(&j.Config); err != nil {
		return nil, err
	}
	say("inner", "entered", nil)
	in.Files[0].Read(make([]byte, 1))
	b, err := os.ReadFile("/sub/later")
	return string(b), err
}

// probeMaps gives the maps that /etc/subuid and /etc/subgid make.
func probeMaps(*Inner, *job) (any, error) {
	uids, gids, err := SubordinateMaps()
	return [][]IDMap{uids, gids}, err
}

// probeNoSandbox tries to enter what the process does not have.
func probeNoSandbox(in *Inner, j *job) (any, error) {
	cfg := j.Config
	cfg.Mode = ModeNamespace
	_, err := Enter(&cfg)
	return nil, err
}

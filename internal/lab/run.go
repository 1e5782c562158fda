package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// powerOffTime is how long a guest whose command has ended, and whose shares
// are unmounted, may take to power off before it is killed.
const powerOffTime = 20 * time.Second

// Run starts a guest, runs the command of cfg in it and waits for both to
// end. A command that fails is no error: see [Result.ExitCode]. Everything
// that keeps the command from running to its end is: a [*MissingError] for
// what must be installed, a [*GuestError] for what went wrong in the guest,
// ctx's error, wrapped, when it was done first.
func Run(ctx context.Context, cfg Config) (Result, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return Result{}, err
	}
	tools, err := find(cfg.Kind, cfg.Kernel)
	if err != nil {
		return Result{}, err
	}
	mods, err := loadModules(tools.Modules)
	if err != nil {
		return Result{}, fmt.Errorf("modules of kernel %s: %w", tools.Release, err)
	}
	for _, s := range cfg.devices() {
		if err := checkSocket(s); err != nil {
			return Result{}, err
		}
	}
	g := &guest{cfg: &cfg, tools: &tools, direct: bootsDirectly(&cfg, mods), console: console{to: cfg.Console}}
	if err := g.start(mods); err != nil {
		return Result{}, err
	}
	defer g.stop()
	return g.wait(ctx)
}

// bootsDirectly reports whether the kernel can mount the root and start its
// init without our help.
func bootsDirectly(cfg *Config, mods *modules) bool {
	return cfg.Kind == QEMU && cfg.Init != "" && len(cfg.Modules) == 0 && len(cfg.Files) == 0 &&
		mods.builtIn("virtiofs", "virtio_pci")
}

// checkSocket finds out early that a back end is not there. It does not
// connect: a back end may take that for its guest.
func checkSocket(s Share) error {
	info, err := os.Stat(s.Socket)
	if err != nil {
		return fmt.Errorf("share %s: %w", s.Tag, err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("share %s: %s is no socket", s.Tag, s.Socket)
	}
	return nil
}

// guest is a guest that has been started.
type guest struct {
	cfg      *Config
	tools    *Tools
	direct   bool
	proc     *process
	link     *os.File
	console  console
	lifeline *os.File      // the keeper lives as long as this is open; nil without keeper
	drained  chan struct{} // closed when the console has been read to its end
	output   *os.File      // what is read as the console
}

// start starts the guest's process with its files. What it opened is closed
// by stop, or by itself if it fails.
func (g *guest) start(mods *modules) (err error) {
	var files closers
	defer files.close()

	link, guestLink, err := socketPair()
	if err != nil {
		return err
	}
	files.add(guestLink)
	output, guestOutput, err := os.Pipe()
	if err != nil {
		link.Close()
		return err
	}
	files.add(guestOutput)
	g.link, g.output = link, output
	defer func() {
		if err != nil {
			g.closeFiles()
		}
	}()
	inherited := []*os.File{guestLink}
	if !g.direct {
		initramfs, err := writeInitramfs(g.cfg, g.tools, mods)
		if err != nil {
			return err
		}
		files.add(initramfs)
		inherited = append(inherited, initramfs)
	}
	program, args := commandLine(g.cfg, g.tools, g.direct)
	cmd := exec.Command(program, args...)
	if g.cfg.Kind == UML {
		if cmd.Path, err = agentProgram(g.cfg.Agent); err != nil {
			return err
		}
		cmd.Args = launcherArgs(g.tools.Release, program, args)
		lifelineEnd, lifeline, err := os.Pipe()
		if err != nil {
			return err
		}
		files.add(lifelineEnd)
		inherited = append(inherited, lifelineEnd)
		g.lifeline = lifeline
	}
	cmd.ExtraFiles = inherited
	cmd.Stdout, cmd.Stderr = guestOutput, guestOutput
	cmd.Env = append(os.Environ(), "TMPDIR="+umlTemp())
	cmd.Dir = "/"
	if g.proc, err = startProcess(cmd, g.lifeline != nil); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	g.drained = make(chan struct{})
	go func() {
		defer close(g.drained)
		io.Copy(&g.console, output)
	}()
	return nil
}

// stop ends the guest, whatever it is doing, and closes its files.
func (g *guest) stop() {
	g.proc.stop()
	g.drain()
	g.closeFiles()
}

// drain reads the rest of the console of a guest that has ended. Only a
// process that has left the guest's group could make it wait.
func (g *guest) drain() {
	g.output.SetReadDeadline(time.Now().Add(5 * time.Second))
	<-g.drained
}

// closeFiles closes our ends of the guest's files.
func (g *guest) closeFiles() {
	for _, f := range []*os.File{g.link, g.output, g.lifeline} {
		if f != nil {
			f.Close()
		}
	}
}

// wait waits for the command and for the guest to end.
func (g *guest) wait(ctx context.Context) (Result, error) {
	up := make(chan bool, 1)
	s := newSession(g.cfg, g.link, &g.console, up)
	sessionEnd := make(chan error, 1)
	go s.serve(sessionEnd)

	boot := time.NewTimer(g.cfg.BootTimeout)
	defer boot.Stop()
	if g.direct {
		boot.Stop()
	}
	for {
		select {
		case isUp := <-up:
			// From here only the caller knows how long is too long.
			boot.Stop()
			if !isUp {
				boot.Reset(g.cfg.BootTimeout)
			}
		case <-boot.C:
			return Result{}, g.fail(fmt.Sprintf("the guest did not come up within %v", g.cfg.BootTimeout), nil)
		case <-ctx.Done():
			return Result{}, g.fail("the guest was stopped: "+context.Cause(ctx).Error(), ctx.Err())
		case <-g.proc.ended:
			// What the guest sent before it ended is still in the link.
			return g.after(ctx, s, <-sessionEnd)
		case err := <-sessionEnd:
			return g.after(ctx, s, err)
		}
	}
}

// after waits for the end of a guest whose session is over, with err.
func (g *guest) after(ctx context.Context, s *session, err error) (Result, error) {
	ownInit := g.cfg.Init != "" && wentAway(err)
	if err != nil && !wentAway(err) {
		return Result{}, err
	}
	limit := time.NewTimer(powerOffTime)
	defer limit.Stop()
	if ownInit {
		limit.Stop()
	}
	select {
	case <-g.proc.ended:
	case <-limit.C:
	case <-ctx.Done():
		return Result{}, g.fail("the guest was stopped: "+context.Cause(ctx).Error(), ctx.Err())
	}
	if err == nil {
		return s.result, nil
	}
	g.proc.stop()
	g.drain()
	reason := g.console.reason()
	if ownInit && reason == "" && g.proc.state.Success() {
		return s.result, nil
	}
	if reason == "" {
		reason = fmt.Sprintf("the guest ended before its command did (%s: %v)", g.cfg.Kind, g.proc.state)
	}
	return Result{}, g.fail(reason, nil)
}

// fail makes the error of a guest that did not do its work.
func (g *guest) fail(reason string, cause error) error {
	return &GuestError{Reason: reason, Console: g.console.lines(consoleLines), Err: cause}
}

// socketPair returns a connected pair of sockets: ours, which does not block a
// thread, and the guest's.
func socketPair() (ours, guests *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "link"), os.NewFile(uintptr(fds[1]), "guest link"), nil
}

// isClosedLink reports whether err is what a socket returns when its other
// end is closed with data unread.
func isClosedLink(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// closers is a list of files to close together.
type closers []*os.File

func (c *closers) add(f *os.File) { *c = append(*c, f) }

func (c *closers) close() {
	for _, f := range *c {
		f.Close()
	}
}

package cli

import (
	"os"

	"github.com/spf13/pflag"

	"github.com/isthmus-fs/isthmus/sandbox"
)

// sandboxFlags are the flags that say how the daemon is closed in.
type sandboxFlags struct {
	mode     string
	seccomp  string
	landlock bool
	modcaps  string
	uidMap   []string
	gidMap   []string
}

// sandboxModes are the words of --sandbox: the modes to try, in order.
var sandboxModes = choice[[]sandbox.Mode]{
	{"auto", []sandbox.Mode{sandbox.ModeNamespace, sandbox.ModeChroot, sandbox.ModeNone}},
	{"namespace", []sandbox.Mode{sandbox.ModeNamespace}},
	{"chroot", []sandbox.Mode{sandbox.ModeChroot}},
	{"none", []sandbox.Mode{sandbox.ModeNone}},
}

var seccompActions = choice[sandbox.Action]{
	{"kill", sandbox.SeccompKill},
	{"log", sandbox.SeccompLog},
	{"trap", sandbox.SeccompTrap},
	{"none", sandbox.SeccompNone},
}

func (f *sandboxFlags) bind(fl *pflag.FlagSet) {
	fl.StringVar(&f.mode, "sandbox", "auto", `what the daemon still sees of the host:
namespace  the share alone: own mount, pid, network and, for an ordinary user, user namespaces
chroot     the share, by its root directory; where namespaces are not allowed. Takes root
none       all that its user may see; for launchers that close it in themselves
auto       the first of these that this host allows
`)
	fl.StringVar(&f.seccomp, "seccomp", "kill", "what a system call that the daemon never makes leads to: kill, log, trap or none")
	fl.BoolVar(&f.landlock, "landlock", true, "use Landlock, where the kernel has it")
	fl.StringVar(&f.modcaps, "modcaps", "", "keep or drop capabilities beside the usual ones, as in +sys_admin:-mknod; trusted.* attributes take sys_admin")
	fl.StringArrayVar(&f.uidMap, "uid-map", nil, `:INSIDE:OUTSIDE:COUNT: user ids of the daemon's user namespace; may be repeated. For ordinary
users, who need newuidmap(1) for other ids than their own; by default they are root in the guest and
their subordinate ids (/etc/subuid) are the others, or if they have none, only their own id exists`)
	fl.StringArrayVar(&f.gidMap, "gid-map", nil, "the same for group ids (/etc/subgid)")
}

// apply says in c what the flags say. handlesGiven tells whether the user chose
// how files are held.
func (f *sandboxFlags) apply(c *daemonConfig, handlesGiven bool) (err error) {
	if c.modes, err = sandboxModes.pick("sandbox", f.mode); err != nil {
		return err
	}
	if f.mode == "auto" && (os.Geteuid() != 0 || !c.share.isOneDirectory()) {
		c.modes = []sandbox.Mode{sandbox.ModeNamespace, sandbox.ModeNone}
	}
	if c.sandbox.Seccomp, err = seccompActions.pick("seccomp", f.seccomp); err != nil {
		return err
	}
	c.sandbox.NoLandlock = !f.landlock
	keep := sandbox.ServerCaps(c.share.usesHandles())
	if f.modcaps != "" {
		if keep, err = keep.Modify(f.modcaps); err != nil {
			return usagef("--modcaps %q: %v", f.modcaps, err)
		}
	}
	c.sandbox.Keep = keep
	c.freeHandles = !handlesGiven && f.modcaps == ""
	if c.sandbox.UIDMap, err = nsMap("uid-map", f.uidMap); err != nil {
		return err
	}
	if c.sandbox.GIDMap, err = nsMap("gid-map", f.gidMap); err != nil {
		return err
	}
	if len(f.uidMap)+len(f.gidMap) == 0 && os.Geteuid() != 0 && c.modes[0] == sandbox.ModeNamespace && !sandbox.Inside() {
		c.sandbox.UIDMap, c.sandbox.GIDMap, c.ownIDsOnly = sandbox.SubordinateMaps()
	}
	return nil
}

func nsMap(flag string, specs []string) ([]sandbox.IDMap, error) {
	var maps []sandbox.IDMap
	for _, s := range specs {
		m, err := sandbox.ParseIDMap(s)
		if err != nil {
			return nil, usagef("--%s %q: %v", flag, s, err)
		}
		maps = append(maps, m)
	}
	return maps, nil
}

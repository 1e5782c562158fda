package cli

import (
	"errors"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/sandbox"
)

// virtiofsdOptions is what a command line of virtiofsd says. Flags set the fields
// as they are met; -o lists are kept until all flags are known, as they prevail
// over these.
type virtiofsdOptions struct {
	sharedDir string
	hasDir    bool
	tag       string
	readOnly  bool

	socketPath    string
	oldSocketPath string // --socket
	socketGroup   string
	hasGroup      bool
	fd            int

	cache         passthrough.CachePolicy
	writeback     bool
	allowMmap     bool
	directIO      bool
	noReaddirplus bool
	submounts     bool
	noatime       bool

	xattr         bool
	xattrMap      *rules.XattrMap
	posixACL      passthrough.Negotiate
	securityLabel passthrough.Negotiate
	killpriv      bool
	uids, gids    []string // --translate-uid, --translate-gid

	sandbox        sandbox.Mode
	seccomp        sandbox.Action
	uidMap, gidMap []sandbox.IDMap
	modcaps        string
	hasModcaps     bool

	fileHandles passthrough.HandleUse
	oldHandles  bool // the deprecated word fallback
	nofile      uint64
	pool        uint64

	migration      migrationMode
	guestError     bool
	verifyHandles  bool
	confirmPaths   bool
	level          slog.Level
	syslog         bool
	debug, ignored bool // -d, -f
	capabilities   bool
	legacy         [][]legacyChange
}

func newVirtiofsdOptions() *virtiofsdOptions {
	return &virtiofsdOptions{fd: -1, submounts: true, level: slog.LevelInfo}
}

// What a flag that asks for a text instead of the service stops the parsing with.
var (
	errHelp    = errors.New("the help text was asked for")
	errVersion = errors.New("the version was asked for")
)

// virtiofsdFlag is one option. Its name is its letter if it has no other.
type virtiofsdFlag struct {
	name  string
	short string
	arg   string // what the help calls its value, with what stands before
	value pflag.Value
	bare  string // its value if it is given without one; empty: it needs one
	help  string
}

type virtiofsdGroup struct {
	title string
	flags []virtiofsdFlag
}

// groups are all options, in the order of the help text, setting the fields of o.
func (o *virtiofsdOptions) groups() []virtiofsdGroup {
	flag := func(name, help string, to *bool) virtiofsdFlag {
		return virtiofsdFlag{name: name, value: sets(to, true), bare: bare, help: help}
	}
	unflag := func(name, help string, to *bool) virtiofsdFlag {
		return virtiofsdFlag{name: name, value: sets(to, false), bare: bare, help: help}
	}
	dir := text(&o.sharedDir)
	dir.parse = func(s string) (string, error) { o.hasDir = true; return s, nil }
	group := text(&o.socketGroup)
	group.parse = func(s string) (string, error) { o.hasGroup = true; return s, nil }
	modcaps := text(&o.modcaps)
	modcaps.parse = func(s string) (string, error) { o.hasModcaps = true; return s, nil }
	handles := word(&o.fileHandles, handleUses, "prefer", false)
	handles.parse = func(s string) (passthrough.HandleUse, error) {
		if s == bare {
			return 0, errors.New("write its value after an equals sign: --inode-file-handles=prefer")
		}
		if o.oldHandles = s == "fallback"; o.oldHandles {
			return passthrough.HandlesPrefer, nil
		}
		return handleUses.find(s, false)
	}
	return []virtiofsdGroup{
		{"What is shared", []virtiofsdFlag{
			{name: "shared-dir", arg: " DIR", value: dir,
				help: "the directory that the guest gets"},
			{name: "tag", arg: " TAG", value: &checked[string]{to: &o.tag, parse: parseTag},
				help: `the name of the share in the guest, 1 to 36 bytes, for VMMs that ask the daemon for it
(Cloud Hypervisor); most, such as QEMU, have the name on their own command line`},
			flag("readonly", "refuse every change", &o.readOnly),
		}},
		{"Where the VM connects", []virtiofsdFlag{
			{name: "socket-path", arg: " PATH", value: text(&o.socketPath),
				help: `make a UNIX socket here. PATH.pid beside it holds the process id and a lock, so that
no two daemons serve one socket`},
			{name: "socket-group", arg: " GROUP", value: group,
				help: "let the members of this group, by name, connect too"},
			{name: "fd", arg: " N", value: &checked[int]{to: &o.fd, parse: parseFD},
				help: "use this inherited socket, which listens already"},
			{name: "socket", arg: " PATH", value: text(&o.oldSocketPath),
				help: "deprecated: --socket-path"},
		}},
		{"What the guest may cache", []virtiofsdFlag{
			{name: "cache", arg: " POLICY", value: word(&o.cache, cachePolicies, "auto", true),
				help: `auto      names, attributes and data for a second: for directories that the host changes
          too (default)
never     nothing
metadata  names and attributes for a day, no data
always    everything for a day: for directories that the guest has for itself`},
			flag("writeback", "let the guest collect writes: faster, but the host sees them later", &o.writeback),
			flag("allow-mmap", "with --cache never or metadata, let the guest map files shared", &o.allowMmap),
			flag("allow-direct-io", "pass the guest's O_DIRECT on to the host's files", &o.directIO),
			flag("no-readdirplus", "list directories without attributes; so it is with --cache never", &o.noReaddirplus),
		}},
		{"What the guest sees", []virtiofsdFlag{
			flag("xattr", "extended attributes", &o.xattr),
			{name: "xattrmap", arg: " RULES", value: &checked[*rules.XattrMap]{to: &o.xattrMap, parse: rules.ParseXattrMap},
				help: `other names for extended attributes on the host: ':map::user.virtiofs.:' keeps all of the
guest's apart from those of the host. A name that no rule fits is refused. Implies --xattr`},
			{name: "posix-acl", arg: "[=WHEN]", value: word(&o.posixACL, negotiations, "never", false), bare: "always",
				help: `POSIX ACLs: never (default), auto (for guests that know them) or always (other guests are
refused); without a value always. Implies --xattr`},
			{name: "security-label", arg: "[=WHEN]", value: word(&o.securityLabel, negotiations, "never", false), bare: "always",
				help: "labels of new files, as SELinux has them: never (default), auto or always. Implies --xattr"},
			flag("killpriv-v2", "let the host clear setuid and setgid bits when a file is written: fewer questions", &o.killpriv),
			unflag("no-killpriv-v2", "leave that to the guest (default)", &o.killpriv),
			flag("announce-submounts", "show where another file system of the host begins (default)", &o.submounts),
			unflag("no-announce-submounts", "make the share look like one file system", &o.submounts),
			flag("preserve-noatime", "pass the guest's O_NOATIME on; it fails for files of other users than the daemon's", &o.noatime),
			{name: "translate-uid", arg: " SPEC", value: &gathered[string]{&o.uids, parseTranslation},
				help: `other user ids on the host than in the guest; may be repeated:
map:GUEST:HOST:COUNT           the same in both directions
guest:GUEST:HOST:COUNT         from the guest to the host
host:HOST:GUEST:COUNT          from the host to the guest
squash-guest:GUEST:HOST:COUNT  all from the guest become one of the host
squash-host:HOST:GUEST:COUNT   all from the host become one of the guest
forbid-guest:GUEST:COUNT       the guest may not use them: EPERM
Not together with --posix-acl, as the ids in ACLs are not translated`},
			{name: "translate-gid", arg: " SPEC", value: &gathered[string]{&o.gids, parseTranslation},
				help: "the same for group ids"},
		}},
		{"How the daemon is closed in", []virtiofsdFlag{
			{name: "sandbox", arg: " MODE", value: word(&o.sandbox, virtiofsdSandboxes, "namespace", true),
				help: `namespace  the daemon sees the share alone: own mount, pid, network and, for an ordinary
           user, user namespaces (default)
chroot     the same by the root directory alone, where namespaces are not allowed; takes root
none       it sees what its user sees: for launchers that close it in themselves`},
			{name: "seccomp", arg: " ACTION", value: word(&o.seccomp, seccompActions, "kill", false),
				help: "at a system call that the daemon never makes: kill (default), log, trap or none"},
			{name: "modcaps", arg: "=LIST", value: modcaps,
				help: "keep or drop capabilities beside the usual ones, as in +sys_admin:-mknod"},
			{name: "uid-map", arg: " :IN:OUT:N:", value: &gathered[sandbox.IDMap]{&o.uidMap, sandbox.ParseIDMap},
				help: `user ids of the daemon's user namespace, and with them of the guest: N ids from IN on are
those from OUT on of the host. For ordinary users with --sandbox namespace; other ids than one's
own take newuidmap(1). May be repeated. By default only one's own id exists`},
			{name: "gid-map", arg: " :IN:OUT:N:", value: &gathered[sandbox.IDMap]{&o.gidMap, sandbox.ParseIDMap},
				help: "the same for group ids"},
		}},
		{"Resources", []virtiofsdFlag{
			{name: "inode-file-handles", arg: "=WHEN", value: handles, bare: bare,
				help: `hold files by handle rather than by an open descriptor: prefer (default; where the host's file
system has handles and the daemon CAP_DAC_READ_SEARCH), mandatory or never`},
			{name: "rlimit-nofile", arg: " N", value: number(&o.nofile, 64, ""),
				help: `file descriptors that the daemon may have, at least 610; 0 leaves the limit as it is. By
default 1000000, or as many as the host allows`},
			{name: "thread-pool-size", arg: " N", value: number(&o.pool, 64, "0"),
				help: `accepted and without effect: each queue has a thread of its own, and a request that would
hold it up is handed to another thread, which is started when it is needed`},
		}},
		{"Migration", []virtiofsdFlag{
			{name: "migration-mode", arg: " MODE", value: word(&o.migration, migrationModes, "find-paths", false),
				help: "find-paths (default) or file-handles. This and the next three are accepted and without effect, as\nmigration is not offered"},
			{name: "migration-on-error", arg: " WHAT", value: word(&o.guestError, migrationAnswers, "abort", false),
				help: "abort (default) or guest-error"},
			flag("migration-verify-handles", "not with --migration-mode file-handles", &o.verifyHandles),
			flag("migration-confirm-paths", "not with --migration-mode file-handles", &o.confirmPaths),
		}},
		{"Messages and the rest", []virtiofsdFlag{
			{name: "log-level", arg: " LEVEL", value: word(&o.level, virtiofsdLevels, "info", true),
				help: "error, warn, info (default), debug, trace or off; the environment variable RUST_LOG prevails"},
			flag("syslog", "log to the system's log rather than to stderr", &o.syslog),
			flag("print-capabilities", "say what this program can do, in the JSON of vhost-user back ends, and end", &o.capabilities),
			{name: "o", short: "o", arg: " LIST", value: &gathered[[]legacyChange]{&o.legacy, parseLegacy},
				help: `deprecated: options as virtiofsd of QEMU had them, separated by commas, with two for one
inside a path: source=DIR, cache=auto|always|none|metadata, sandbox=namespace|chroot,
loglevel=debug|info|warn|err, xattrmap=RULES, modcaps=LIST, announce_submounts, and with or without
no_ before them xattr, readdirplus, writeback, allow_direct_io, killpriv_v2, posix_acl and
security_label. They prevail over the options above`},
			{name: "d", short: "d", value: sets(&o.debug, true), bare: bare, help: "deprecated: --log-level debug"},
			{name: "f", short: "f", value: sets(&o.ignored, true), bare: bare, help: "deprecated, without effect"},
			{name: "help", short: "h", value: &given{func() error { return errHelp }}, bare: bare, help: "print this text"},
			{name: "version", short: "V", value: &given{func() error { return errVersion }}, bare: bare, help: "print the version"},
		}},
	}
}

// parseTranslation checks one rule by itself.
func parseTranslation(s string) (string, error) { return s, new(rules.IDMap).Add(s) }

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/sandbox"
	"github.com/isthmus-fs/isthmus/vhostuser"
)

// parseVirtiofsd is what a command line means, up to the checks of what the host
// makes of it.
func parseVirtiofsd(args ...string) (o *virtiofsdOptions, changed func(string) bool, err error) {
	o = newVirtiofsdOptions()
	cmd := newVirtiofsdCommand(o)
	if err := cmd.ParseFlags(args); err != nil {
		return nil, nil, err
	}
	changed = cmd.Flags().Changed
	return o, changed, o.checkUsage(changed)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestVirtiofsdOptionsMean(t *testing.T) {
	dir := t.TempDir()
	comma := filepath.Join(dir, "a,b=c")
	if err := os.Mkdir(comma, 0o777); err != nil {
		t.Fatal(err)
	}
	xattrs, err := rules.ParseXattrMap(":map::user.virtiofs.:")
	if err != nil {
		t.Fatal(err)
	}
	var ids rules.IDMap
	if err := ids.Add("map:0:1000:1"); err != nil {
		t.Fatal(err)
	}
	none := sandbox.ServerCaps(true)
	fewer, err := none.Modify("-mknod:+sys_admin")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		want func(*daemonConfig)
	}{
		{"", func(c *daemonConfig) {}},
		{"--cache never", func(c *daemonConfig) { c.share.mounts[0].Host.Cache = passthrough.CacheNever }},
		{"--cache=Metadata", func(c *daemonConfig) { c.share.mounts[0].Host.Cache = passthrough.CacheMetadata }},
		{"-o cache=none", func(c *daemonConfig) { c.share.mounts[0].Host.Cache = passthrough.CacheNever }},
		{"-o cache=always --cache never", func(c *daemonConfig) { c.share.mounts[0].Host.Cache = passthrough.CacheAlways }},
		{"-o cache=always -o cache=auto", func(c *daemonConfig) {}},
		{"--writeback", func(c *daemonConfig) { c.share.mounts[0].Host.Writeback = true }},
		{"--writeback -o no_writeback", func(c *daemonConfig) {}},
		{"--allow-direct-io", func(c *daemonConfig) { c.share.mounts[0].Host.DirectIO = true }},
		{"-o allow_direct_io", func(c *daemonConfig) { c.share.mounts[0].Host.DirectIO = true }},
		{"-o allow_direct_io,no_allow_direct_io", func(c *daemonConfig) {}},
		{"--allow-mmap", func(c *daemonConfig) { c.share.mounts[0].Host.DirectIOMmap = true }},
		{"--no-readdirplus", func(c *daemonConfig) { c.share.mounts[0].Host.NoReaddirplus = true }},
		{"--no-readdirplus -o readdirplus", func(c *daemonConfig) {}},
		{"-o no_readdirplus", func(c *daemonConfig) { c.share.mounts[0].Host.NoReaddirplus = true }},
		{"--no-announce-submounts", func(c *daemonConfig) { c.share.mounts[0].Host.AnnounceSubmounts = false }},
		{"--no-announce-submounts --announce-submounts", func(c *daemonConfig) {}},
		{"--no-announce-submounts -o announce_submounts", func(c *daemonConfig) {}},
		{"--killpriv-v2", func(c *daemonConfig) { c.share.mounts[0].Host.KillPriv = true }},
		{"--killpriv-v2 --no-killpriv-v2", func(c *daemonConfig) {}},
		{"--killpriv-v2 -o no_killpriv_v2", func(c *daemonConfig) {}},
		{"-o killpriv_v2", func(c *daemonConfig) { c.share.mounts[0].Host.KillPriv = true }},
		{"--xattr", func(c *daemonConfig) { c.share.mounts[0].Host.Xattr = true }},
		{"-o xattr,no_xattr", func(c *daemonConfig) {}},
		{"--xattrmap :map::user.virtiofs.:", func(c *daemonConfig) { c.share.mounts[0].Host.Xattr, c.share.mounts[0].Xattrs = true, xattrs }},
		{"-o xattrmap=:map::user.virtiofs.:", func(c *daemonConfig) { c.share.mounts[0].Host.Xattr, c.share.mounts[0].Xattrs = true, xattrs }},
		{"--posix-acl", func(c *daemonConfig) { c.share.mounts[0].Host.PosixACL = passthrough.NegotiateAlways }},
		{"--posix-acl=auto", func(c *daemonConfig) { c.share.mounts[0].Host.PosixACL = passthrough.NegotiateAuto }},
		{"--posix-acl --posix-acl=never", func(c *daemonConfig) {}},
		{"-o posix_acl", func(c *daemonConfig) { c.share.mounts[0].Host.PosixACL = passthrough.NegotiateAlways }},
		{"--posix-acl -o no_posix_acl", func(c *daemonConfig) {}},
		{"--security-label", func(c *daemonConfig) { c.share.mounts[0].Host.SecurityLabel = passthrough.NegotiateAlways }},
		{"--security-label=auto", func(c *daemonConfig) { c.share.mounts[0].Host.SecurityLabel = passthrough.NegotiateAuto }},
		{"-o security_label", func(c *daemonConfig) { c.share.mounts[0].Host.SecurityLabel = passthrough.NegotiateAlways }},
		{"--security-label -o no_security_label", func(c *daemonConfig) {}},
		{"-o no_flock,no_posix_lock", func(c *daemonConfig) {}},
		{"--preserve-noatime", func(c *daemonConfig) { c.share.mounts[0].Host.PreserveNoatime = true }},
		{"--readonly", func(c *daemonConfig) { c.share.mounts[0].ReadOnly = true }},
		{"--translate-uid map:0:1000:1", func(c *daemonConfig) { c.share.mounts[0].UIDs = &ids }},
		{"--translate-gid map:0:1000:1", func(c *daemonConfig) { c.share.mounts[0].GIDs = &ids }},
		{"--tag files", func(c *daemonConfig) { c.share.tag = "files" }},
		{"--sandbox chroot", func(c *daemonConfig) { c.modes = []sandbox.Mode{sandbox.ModeChroot} }},
		{"--sandbox NONE", func(c *daemonConfig) { c.modes = []sandbox.Mode{sandbox.ModeNone} }},
		{"--sandbox none -o sandbox=chroot", func(c *daemonConfig) { c.modes = []sandbox.Mode{sandbox.ModeChroot} }},
		{"--seccomp trap", func(c *daemonConfig) { c.sandbox.Seccomp = sandbox.SeccompTrap }},
		{"--seccomp none", func(c *daemonConfig) { c.sandbox.Seccomp = sandbox.SeccompNone }},
		{"--modcaps=-mknod:+SYS_ADMIN", func(c *daemonConfig) { c.sandbox.Keep = fewer }},
		{"-o modcaps=-mknod:+sys_admin", func(c *daemonConfig) { c.sandbox.Keep = fewer }},
		{"--inode-file-handles=never", func(c *daemonConfig) {
			c.share.mounts[0].Host.FileHandles, c.sandbox.Keep = passthrough.HandlesNever, sandbox.ServerCaps(false)
		}},
		{"--inode-file-handles=mandatory", func(c *daemonConfig) { c.share.mounts[0].Host.FileHandles = passthrough.HandlesMandatory }},
		{"--inode-file-handles=fallback", func(c *daemonConfig) {}},
		{"--rlimit-nofile 0", func(c *daemonConfig) { c.nofile = fileLimit{0, true} }},
		{"--rlimit-nofile 5000", func(c *daemonConfig) { c.nofile = fileLimit{5000, true} }},
		{"--rlimit-nofile 1000", func(c *daemonConfig) {
			c.nofile, c.share.mounts[0].Host.MaxFDs, c.share.mounts[0].Host.MaxCachedFDs = fileLimit{1000, true}, 390, 64
		}},
		{"--rlimit-nofile 610", func(c *daemonConfig) {
			c.nofile, c.share.mounts[0].Host.MaxFDs, c.share.mounts[0].Host.MaxCachedFDs = fileLimit{610, true}, 1, 64
		}},
		{"--thread-pool-size 64", func(c *daemonConfig) {}},
		{"--migration-mode file-handles --migration-on-error guest-error", func(c *daemonConfig) {}},
		{"--socket-group daemon", func(c *daemonConfig) { c.listen.options = vhostuser.ListenOptions{Mode: 0o770, Group: 1} }},
		{"--shared-dir {none}/x -o source={none}/x -o source={dir}", func(c *daemonConfig) {}},
		{"-o source={dir}/a,,b=c,xattr", func(c *daemonConfig) {
			c.share.mounts[0].Source, c.share.mounts[0].Host.Path, c.share.mounts[0].Host.Xattr = comma, comma, true
		}},
	} {
		t.Run(test.args, func(t *testing.T) {
			args := append([]string{"--shared-dir", dir, "--socket-path", "s"}, strings.Fields(strings.NewReplacer("{dir}", dir, "{none}", dir+"/none").Replace(test.args))...)
			o, changed, err := parseVirtiofsd(args...)
			if err != nil {
				t.Fatal(err)
			}
			log := discard()
			got, err := o.daemon(log, changed("rlimit-nofile"))
			if err != nil {
				t.Fatal(err)
			}
			want := &daemonConfig{
				share: shareSpec{
					mounts: []compose.Mount{{
						Target: "/", Type: spec.Dir, Source: dir,
						Host: passthrough.Config{Path: dir, AnnounceSubmounts: true, Logger: log},
					}},
					queues: 1,
				},
				listen:  listenSpec{path: "s", fd: -1, options: vhostuser.ListenOptions{Mode: 0o700}},
				modes:   []sandbox.Mode{sandbox.ModeNamespace},
				sandbox: sandbox.Config{Keep: sandbox.ServerCaps(true)},
				nofile:  defaultFileLimit(),
				once:    true, lenient: true,
				says: virtiofsdPhrases,
				log:  log,
			}
			test.want(want)
			exportAll := cmp.Exporter(func(reflect.Type) bool { return true })
			if diff := cmp.Diff(want, got, exportAll, cmpopts.IgnoreTypes(&slog.Logger{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestVirtiofsdNamespaceMaps(t *testing.T) {
	o, _, err := parseVirtiofsd("--shared-dir", "/", "--fd", "3", "--uid-map=:0:1000:1:", "--uid-map=:1:100000:65536:", "--gid-map=/5/6/7/")
	if err != nil {
		t.Fatal(err)
	}
	want := []sandbox.IDMap{{Inside: 0, Outside: 1000, Count: 1}, {Inside: 1, Outside: 100000, Count: 65536}}
	if diff := cmp.Diff(want, o.uidMap); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]sandbox.IDMap{{Inside: 5, Outside: 6, Count: 7}}, o.gidMap); diff != "" {
		t.Error(diff)
	}
	for _, test := range []struct {
		root bool
		mode sandbox.Mode
		ok   bool
	}{
		{false, sandbox.ModeNamespace, true},
		{true, sandbox.ModeNamespace, false},
		{false, sandbox.ModeNone, false},
		{true, sandbox.ModeChroot, false},
	} {
		o.sandbox = test.mode
		if err := o.checkSandbox(test.root); (err == nil) != test.ok {
			t.Errorf("root %v, %v: %v", test.root, test.mode, err)
		}
	}
	o.uidMap, o.gidMap = nil, nil
	for root, ok := range map[bool]bool{true: true, false: false} {
		o.sandbox = sandbox.ModeChroot
		if err := o.checkSandbox(root); (err == nil) != ok {
			t.Errorf("chroot, root %v: %v", root, err)
		}
	}
}

func TestVirtiofsdWarnings(t *testing.T) {
	for args, word := range map[string]string{
		"--socket s":                                    "'--socket'",
		"--socket-path s -f":                            "'-f'",
		"--socket-path s -d":                            "'-d'",
		"--socket-path s -o xattr":                      "'-o'",
		"--socket-path s --migration-mode=find-paths":   "migration is not offered",
		"--socket-path s --migration-verify-handles":    "migration is not offered",
		"--socket-path s --inode-file-handles=fallback": "'fallback'",
		"--socket-path s --rlimit-nofile=700":           "only 90 file descriptors",
		"--socket-path s":                               "",
		"--socket-path s --socket t":                    "",
		"--socket-path s --rlimit-nofile=0":             "",
	} {
		o, changed, err := parseVirtiofsd(append([]string{"--shared-dir", "/"}, strings.Fields(args)...)...)
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		got := o.warnings(changed)
		switch {
		case word == "" && len(got) > 0:
			t.Errorf("%s warns: %q", args, got)
		case word != "" && (len(got) != 1 || !strings.Contains(got[0], word)):
			t.Errorf("%s warns %q, want one with %q", args, got, word)
		}
	}
}

func TestSplitLegacy(t *testing.T) {
	for in, want := range map[string][]string{
		"":            {""},
		"a":           {"a"},
		"a,b":         {"a", "b"},
		"a,,b":        {"a,b"},
		"a,,,b":       {"a,", "b"},
		"a,,,,b,":     {"a,,b", ""},
		",a":          {"", "a"},
		"x=1,,2,y==,": {"x=1,2", "y==", ""},
	} {
		if diff := cmp.Diff(want, splitLegacy(in)); diff != "" {
			t.Errorf("%q (-want +got)\n%s", in, diff)
		}
	}
}

// Called by the name virtiofsd the program is virtiofsd, and the subcommand is the
// same.
func TestVirtiofsdByName(t *testing.T) {
	for _, args := range [][]string{{"/usr/libexec/virtiofsd", "--print-capabilities"}, {"isthmus", "virtiofsd", "--print-capabilities"}} {
		var stdout, stderr bytes.Buffer
		if status := execute(context.Background(), args, &stdout, &stderr); status != 0 || stderr.Len() != 0 {
			t.Errorf("%q: status %d\n%s", args, status, &stderr)
		}
		var got struct {
			Type     string
			Features []string
		}
		if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || got.Type != "fs" || len(got.Features) == 0 {
			t.Errorf("%q: %v\n%s", args, err, &stdout)
		}
	}
}

// Launchers read the installed file rather than asking the program.
func TestVirtiofsdDiscoveryFile(t *testing.T) {
	b, err := os.ReadFile("../../share/qemu/vhost-user/50-isthmus-virtiofsd.json.in")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Description, Type, Binary string
		Features                  []string
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Type != "fs" || got.Binary != "@virtiofsd@" || got.Description == "" {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff(virtiofsdFeatures, got.Features); diff != "" {
		t.Errorf("the file does not have the features of --print-capabilities (-want +got)\n%s", diff)
	}
}

func TestVirtiofsdHelpNamesEveryOption(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := execute(context.Background(), []string{"virtiofsd", "--help"}, &stdout, &stderr); status != 0 || stderr.Len() != 0 {
		t.Fatalf("status %d\n%s", status, &stderr)
	}
	for _, g := range newVirtiofsdOptions().groups() {
		for _, f := range g.flags {
			name := "--" + f.name
			if f.name == f.short {
				name = "-" + f.name
			}
			if !strings.Contains(stdout.String(), name+f.arg+"\n") {
				t.Errorf("the help text does not name %s%s", name, f.arg)
			}
			if f.help == "" {
				t.Errorf("%s is not explained", name)
			}
		}
	}
	for i, line := range strings.Split(stdout.String(), "\n") {
		if len(line) > 115 {
			t.Errorf("line %d has %d columns", i+1, len(line))
		}
	}
	for word := range legacyValues {
		if !strings.Contains(stdout.String(), word+"=") {
			t.Errorf("the help text does not name -o %s", word)
		}
	}
}

func FuzzVirtiofsdList(f *testing.F) {
	for _, list := range []string{"", ",", "xattr", "source=/a,,b=c,cache=none", "xattrmap=:map::user.virtiofs.:,modcaps=+a:-b", "sandbox=chroot,loglevel=err"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		items := splitLegacy(list)
		for i := range items {
			items[i] = strings.ReplaceAll(items[i], ",", ",,")
		}
		if joined := strings.Join(items, ","); joined != list {
			t.Errorf("%q is split into what makes %q", list, joined)
		}
		changes, err := parseLegacy(list)
		if err != nil {
			return
		}
		o := newVirtiofsdOptions()
		for _, change := range changes {
			change(o)
		}
	})
}

func FuzzVirtiofsdArguments(f *testing.F) {
	for _, args := range []string{
		"", "-h", "-V", "--print-capabilities", "--shared-dir\x00/\x00--socket-path\x00s", "-dfo\x00source=/",
		"--shared-dir\x00/\x00--fd=3\x00--posix-acl\x00--translate-uid\x00map:0:1:2\x00--uid-map=:0:0:1:",
		"--xattrmap\x00:ok:all:::\x00--modcaps=+x\x00--inode-file-handles=never\x00--rlimit-nofile=610", "--tag\x00\xff", "--\x00x", "-o=", "--=",
	} {
		f.Add(args)
	}
	f.Fuzz(func(t *testing.T, joined string) {
		o, changed, err := parseVirtiofsd(strings.Split(joined, "\x00")...)
		if err != nil {
			return
		}
		o.warnings(changed)
		o.daemon(discard(), changed("rlimit-nofile"))
	})
}

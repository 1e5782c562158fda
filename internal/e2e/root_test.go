package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// debianSuite is the release whose tree is booted.
const debianSuite = "bookworm"

// TestDebianBootsFromAShare has a Debian tree as root file system over a share
// and uses what a system uses its root for. QEMU boots it with systemd, and a unit
// of it does the work and powers off. In User-Mode Linux the work is the guest's
// only command: systemd starts its services without the environment that keeps
// programs off the AVX registers, which that kernel cannot save on all hosts.
func TestDebianBootsFromAShare(t *testing.T) {
	t.Parallel()
	pristine := debianTree(t)
	for _, kind := range []lab.Kind{lab.UML, lab.QEMU} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			root := filepath.Join(t.TempDir(), "debian")
			if out, err := exec.Command("cp", "-a", "--reflink=auto", pristine, root).CombinedOutput(); err != nil {
				t.Fatalf("cp: %v\n%s", err, out)
			}
			install(t, root, "/usr/local/bin/probe", probeScript, 0o755)
			install(t, root, "/etc/systemd/system/probe.service", probeUnit, 0o644)
			if err := os.Symlink("/etc/systemd/system/probe.service",
				filepath.Join(root, "etc/systemd/system/multi-user.target.wants/probe.service")); err != nil {
				t.Fatal(err)
			}

			d := serve(t, root, "--cache", "always", "--queues", "2")
			cfg := guest(kind, d)
			cfg.Shares, cfg.Root = nil, &cfg.Shares[0]
			if kind == lab.QEMU {
				cfg.Init = "/sbin/init"
				cfg.KernelArgs = []string{"systemd.show_status=true", "systemd.log_target=console",
					// It would wait a minute and a half for udev, which is not in the tree, to find the console.
					"systemd.mask=serial-getty@ttyS0.service"}
			} else {
				cfg.Args = []string{"/usr/local/bin/probe"}
			}
			run(t, cfg)

			if got := readFile(t, filepath.Join(root, "srv/findings")); got != findings {
				t.Errorf("the booted system found\n%s\nwant\n%s", got, findings)
			}
			info, err := os.Stat(filepath.Join(root, "home/guest/hello"))
			if err != nil {
				t.Fatal(err)
			}
			if st := info.Sys().(*syscall.Stat_t); st.Uid != 4711 || st.Gid != 4712 {
				t.Errorf("a file of the guest's user belongs to %d:%d on the host", st.Uid, st.Gid)
			}
			d.stop(syscall.SIGTERM)
		})
	}
}

const probeUnit = `[Unit]
Description=Use the root file system and power off
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/usr/local/bin/probe
ExecStopPost=/usr/bin/systemctl --no-block poweroff
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
`

const probeScript = `#!/bin/sh
exec >/srv/findings
findmnt -n -o FSTYPE /
dpkg --verify base-files && echo base-files is intact
groupadd -g 4712 guest && useradd -u 4711 -g guest -m guest && echo user added
su guest -c 'echo hello >~/hello && cat ~/hello'
su guest -c 'echo no >/etc/shadow' 2>/dev/null || echo shadow is safe
cp -a /etc /srv/a && [ "$(cd /etc && find . | sort | sha256sum)" = "$(cd /srv/a && find . | sort | sha256sum)" ] && echo copied
rm -rf /srv/a && echo removed
sync
`

const findings = `virtiofs
base-files is intact
user added
hello
shadow is safe
copied
removed
`

func install(t *testing.T, root, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, name), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// debianTree returns a minimal Debian with systemd, made by debootstrap the
// first time and kept in the user's cache directory. Nobody writes to it.
func debianTree(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	tree := filepath.Join(cache, "isthmus", "debian-"+debianSuite)
	if _, err := os.Stat(tree); err == nil {
		return tree
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	debootstrap, err := exec.LookPath("debootstrap")
	if err != nil {
		t.Fatal("debootstrap is missing: install the Debian package debootstrap")
	}
	if err := os.MkdirAll(filepath.Dir(tree), 0o755); err != nil {
		t.Fatal(err)
	}
	making, err := os.MkdirTemp(filepath.Dir(tree), "making-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(making)
	t.Log("debootstrap makes a Debian tree (once, about a minute)")
	root := filepath.Join(making, "root")
	out, err := exec.Command(debootstrap, "--variant=minbase", "--include=systemd-sysv", debianSuite, root).CombinedOutput()
	if err != nil {
		t.Fatalf("debootstrap: %v\n%s", err, out)
	}
	if err := os.Rename(root, tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

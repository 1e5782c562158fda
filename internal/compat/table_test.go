package compat

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// row is one command line. In it {share} is a directory, {socket} a path for the
// socket, and {dir} the directory of both.
type row struct {
	name string
	args string
	env  []string
	in   string // the working directory, below {dir}
	user bool   // run by an ordinary user
	fd   int    // the number of an inherited listening socket; 0: none
	// socket is where the daemon listens; empty is {socket}.
	socket string
	// do is what happens to the daemon; nil is hangUp.
	do    func(*process)
	warn  string // in the warning that is to come
	files bool   // look at what is left behind
	want  outcome
	but   map[kind]but
}

// but is another outcome than 1.14.0's, and why.
type but struct {
	reason string // a key of reasons
	outcome
}

const (
	base  = "--socket-path {socket} --shared-dir {share} "
	baseC = "--socket-path={socket} -o source={share} " // as the C daemon wants it
)

// oursBut is where ours alone differs.
func oursBut(reason string, o outcome) map[kind]but { return map[kind]but{ours: {reason, o}} }

// launchers are command lines that are in use.
var launchers = []row{
	{
		name: "libvirt with separate-options",
		args: "--fd=3 --shared-dir {share} --cache always --sandbox namespace --xattr --readonly --thread-pool-size=4 --rlimit-nofile=2000 --log-level debug",
		fd:   3, want: passed(),
	},
	{
		name: "libvirt of an ordinary user",
		args: fmt.Sprintf("--fd=3 --shared-dir {share} --uid-map=:0:%d:1: --gid-map=:0:%d:1:", nobody, nobody),
		fd:   3, user: true, want: passed(),
	},
	{
		name: "libvirt without separate-options",
		args: "--fd=3 -o source={share},cache=always,sandbox=chroot,xattr,no_flock,no_posix_lock --thread-pool-size=4 -d",
		fd:   3, want: passed(),
	},
	{
		name: "libvirt and a path with a comma",
		args: "--fd=3 -o source={dir}/with,,comma,cache=none,no_xattr",
		fd:   3, want: usage,
		but: map[kind]but{ours: {"comma", passed()}},
	},
	{
		name: "Kata Go shim",
		args: "--syslog --cache=auto --shared-dir={share} --fd=3 --thread-pool-size=1 --announce-submounts --log-level=off",
		fd:   3, do: interrupting(unix.SIGKILL), want: outcome{status: "killed"}, but: map[kind]but{legacyC: {"c-options", outcome{status: "1"}}},
	},
	{
		name: "Kata runtime-rs",
		args: base + "--cache auto --xattr",
		do:   sending(unix.SIGKILL), files: true,
		want: served().ending("killed").logging("W").leaving("s s.pid"),
	},
	{
		name: "Kata runtime-rs, old",
		args: base + "--cache auto --sandbox none --seccomp none", want: served(),
	},
	{
		name: "Cloud Hypervisor",
		args: "--shared-dir {share} --socket-path {socket} --cache never --tag myfs",
		do:   features,
		want: served().telling("PROTOCOL_FEATURES VERSION_1 MQ CONFIG CONFIGURE_MEM_SLOTS DEVICE_STATE tag myfs queues 1"),
		but:  oursBut("migration", served().telling("PROTOCOL_FEATURES VERSION_1 MQ CONFIG CONFIGURE_MEM_SLOTS tag myfs queues 1")),
	},
	{
		name: "Cloud Hypervisor, once more on the same path",
		args: "--shared-dir {share} --socket-path {socket} --cache never --tag myfs",
		do:   again,
		want: outcome{status: "killed", stderr: true, log: "W", told: "the next: status 0 log WCD 0700"},
	},
	{
		name: "podman machine",
		args: "--sandbox none --socket-path {socket} --shared-dir . --seccomp=none --modcaps=-mknod:-setfcap",
		in:   "share", want: served(),
	},
	{
		name: "Proxmox",
		args: "--fd=12 --shared-dir={share} --announce-submounts --syslog --cache=auto --posix-acl --xattr --allow-direct-io --writeback --log-level=off",
		fd:   12, want: outcome{status: "0"}, but: map[kind]but{legacyC: {"c-options", outcome{status: "1"}}},
	},
	{
		name: "virtme-ng",
		args: "--socket-path {socket} --shared-dir / -o cache=always --sandbox namespace", want: served(), but: map[kind]but{v1_13: {"1.13-root", failure}},
	},
	{
		name: "systemd socket activation",
		args: "--fd=3 --shared-dir {share}",
		fd:   3, want: passed(),
	},
	{
		name: "bcvk",
		args: "--socket-path={socket} --shared-dir={share} --cache=never", want: served(),
	},
	{
		name: "QEMU's documentation",
		args: baseC, want: served(),
	},
	{
		name: "by hand, as an ordinary user without a sandbox",
		args: base + "--sandbox none", user: true, want: served(),
	},
}

// lives are what happens to a daemon once it runs.
var lives = []row{
	{
		name: "the VM goes", args: base, files: true,
		want: served().leaving("s s.pid"), but: oursBut("tidy", served().leaving("")),
	},
	{
		name: "the VM goes, without a sandbox", args: base + "--sandbox none", files: true,
		want: served().leaving("s.pid"), but: oursBut("tidy", served().leaving("")),
	},
	{name: "the VM goes, of a passed socket", args: "--fd 3 --shared-dir {share}", fd: 3, files: true, want: passed().leaving("s"),
		but: map[kind]but{legacyC: {"c-options", failureC().leaving("s")}}},
	{name: "no message of vhost-user", args: base, do: nonsense, want: served().logging("WCE")},
	{name: "half a message", args: base, do: cutOff, want: served().logging("WCE")},
	{name: "no tag", args: base, do: features,
		want: served().telling("PROTOCOL_FEATURES VERSION_1 MQ CONFIGURE_MEM_SLOTS DEVICE_STATE"),
		but:  oursBut("migration", served().telling("PROTOCOL_FEATURES VERSION_1 MQ CONFIGURE_MEM_SLOTS"))},
	{name: "SIGTERM", args: base, do: sending(unix.SIGTERM), files: true, want: served().ending("1").logging("W").leaving("s s.pid")},
	{name: "SIGHUP", args: base, do: sending(unix.SIGHUP), want: served().ending("1").logging("W")},
	{name: "SIGINT", args: base, do: sending(unix.SIGINT), want: served().ending("interrupt").logging("W")},
	{name: "SIGTERM without a sandbox", args: base + "--sandbox none", do: sending(unix.SIGTERM), want: served().ending("1").logging("W")},
	{name: "SIGTERM with a VM", args: base, do: interrupting(unix.SIGTERM), want: served().ending("1").logging("WC")},
	{name: "two for one socket", args: base, do: twice, want: served().telling("the second: status 1 log E")},
	{name: "two for one socket, without a sandbox", args: base + "--sandbox none", do: twice, want: served().telling("the second: status 1 log E")},
}

// texts are command lines that ask for an answer.
var texts = []row{
	{name: "no arguments", args: "", want: usage},
	{name: "-h", args: "-h", want: answer},
	{name: "--help", args: "--help", want: answer},
	version(row{name: "-V", args: "-V"}),
	version(row{name: "--version", args: "--version"}),
	version(row{name: "-V before a mistake", args: "-V --bogus"}),
	{name: "-V after a mistake", args: "--bogus -V", want: usage, but: map[kind]but{legacyC: {"c-order", answer}}},
	version(row{name: "-V among letters", args: "-dfV"}).except(legacyC, "c-options", failureC()),
	{name: "-h before a mistake", args: "-h --sandbox x", want: answer},
	{name: "--help=x", args: "--help=x", want: usage},
	{name: "--print-capabilities", args: "--print-capabilities", want: capabilities("migrate-precopy", "posix-acl-negotiation-mode", "security-label-negotiation-mode", "separate-options"),
		but: map[kind]but{
			ours:    {"migration", capabilities("posix-acl-negotiation-mode", "security-label-negotiation-mode", "separate-options")},
			v1_13:   {"1.13-negotiation", capabilities("migrate-precopy", "separate-options")},
			legacyC: {"c-capabilities", outcome{status: "0", stdout: `{"type":"fs"}`}},
		}},
	{name: "--print-capabilities with other options", args: "--print-capabilities --shared-dir /nonexistent -o source=x", want: capabilities("migrate-precopy", "posix-acl-negotiation-mode", "security-label-negotiation-mode", "separate-options"),
		but: map[kind]but{
			ours:  {"migration", capabilities("posix-acl-negotiation-mode", "security-label-negotiation-mode", "separate-options")},
			v1_13: {"1.13-negotiation", capabilities("migrate-precopy", "separate-options")},
		}},
	version(row{name: "--print-capabilities and -V", args: "--print-capabilities -V"}),
	{name: "--print-capabilities and a wrong value", args: "--print-capabilities --sandbox x", want: usage},
	{name: "--print-capabilities and a wrong -o", args: "--print-capabilities -o x", want: usage,
		but: map[kind]but{legacyC: {"c-order", outcome{status: "0", stdout: `{"type":"fs"}`}}}},
	{name: "--print-capabilities and a contradiction", args: "--print-capabilities --fd 3 --socket-path {socket}", want: usage},
}

// version is the row of a command line that asks for the version.
func version(r row) row {
	r.want = outcome{status: "0", stdout: "version"}
	r.but = map[kind]but{ours: {"version", outcome{status: "0", stdout: "version of isthmus"}}, legacyC: {"c-version", answer}}
	return r
}

// capabilities is the answer that names the features.
func capabilities(features ...string) outcome {
	return outcome{status: "0", stdout: fmt.Sprintf(`{"features":["%s"],"type":"fs"}`, strings.Join(features, `","`))}
}

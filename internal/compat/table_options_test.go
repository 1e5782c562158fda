package compat

import "maps"

// runs is the row of options that are fine beside a share and a socket.
func runs(args string) row { return row{name: args, args: base + args, want: served()} }

// refused is the row of options that cannot be right.
func refused(args string) row { return row{name: args, args: base + args, want: usage} }

// failing is the row of options that cannot be fulfilled.
func failing(args string) row { return row{name: args, args: base + args, want: failure} }

// warning is the row of options that work with a warning.
func warning(args, text string) row {
	return row{name: args, args: base + args, warn: text, want: served().warning()}
}

// except returns the row with another outcome of one daemon.
func (r row) except(k kind, reason string, o outcome) row {
	m := map[kind]but{}
	maps.Copy(m, r.but)
	m[k] = but{reason, o}
	r.but = m
	return r
}

// as returns the row for an ordinary user.
func (r row) as(user bool) row { r.user = user; r.name += ", by an ordinary user"; return r }

// options are what single options and their combinations do.
var options = []row{
	// What must be there.
	{name: "no share", args: "--socket-path {socket}", want: usage},
	{name: "no socket", args: "--shared-dir {share}", want: usage},
	{name: "no socket, with -o", args: "-o source={share}", want: usage},
	{name: "no socket, but its group", args: "--socket-group root --shared-dir {share}", want: usage},
	{name: "-o without a source", args: "--socket-path {socket} -o xattr", want: failure},
	{name: "-o without a source, passed socket", args: "--fd 3 -o xattr", fd: 3, want: failure},
	refused("--bogus"),
	refused("-x"),
	refused("positional"),
	refused("-- positional"),
	runs("--"),
	refused("--sand none"),
	refused("--daemonize"),
	refused("--xattr=true"),
	refused("--readonly=no"),
	runs("--xattr --xattr"),
	runs("--readonly --preserve-noatime --allow-mmap --allow-direct-io --writeback --no-readdirplus"),

	// The share.
	{name: "no such share", args: "--socket-path {socket} --shared-dir {dir}/none", want: failure},
	{name: "an empty share", args: "--socket-path {socket} --shared-dir=", want: failure},
	{name: "the last share counts", args: "--socket-path {socket} --shared-dir {dir}/none --shared-dir {share}", want: served()},
	{name: "a relative share", args: "--socket-path {socket} --shared-dir share", want: served()},
	{name: "the working directory", args: "--socket-path {socket} --shared-dir .", in: "share", want: served()},
	{name: "the root directory", args: "--socket-path {socket} --shared-dir /", want: served(),
		but: map[kind]but{v1_13: {"1.13-root", failure}}},
	{name: "a file", args: "--socket-path {socket} --shared-dir {dir}/file", want: failure,
		but: oursBut("file", served())},
	{name: "a file without a sandbox", args: "--socket-path {socket} --shared-dir {dir}/file --sandbox none", want: served()},
	{name: "a share whose name is not UTF-8", args: "--socket-path {socket} --shared-dir {dir}/not-utf8-\xff", want: usage,
		but: oursBut("bytes", served())},
	runs("--tag x"),
	runs("--tag 012345678901234567890123456789012345"),
	refused("--tag 0123456789012345678901234567890123456"),
	refused("--tag="),
	refused("--tag \xff"),

	// The socket.
	{name: "--socket", args: "--socket {socket} --shared-dir {share}", warn: "'--socket'", want: served().warning()},
	{name: "--socket and --socket-path", args: "--socket {dir}/other --socket-path {socket} --shared-dir {share}", warn: "'--socket'", want: served()},
	{name: "--fd and --socket-path", args: "--fd 3 --socket-path {socket} --shared-dir {share}", want: usage},
	{name: "--fd and --socket", args: "--fd 3 --socket {socket} --shared-dir {share}", want: usage},
	{name: "--fd and --socket-group", args: "--fd 3 --socket-group root --shared-dir {share}", want: usage},
	{name: "a descriptor that is no socket", args: "--fd 0 --shared-dir {share}", want: failure.logging("WE"),
		but: oursBut("early", failure)},
	{name: "a descriptor that is not open", args: "--fd 99 --shared-dir {share}", want: failure.logging("WE"),
		but: oursBut("early", failure)},
	{name: "a negative descriptor", args: "--fd=-5 --shared-dir {share}", want: failure.logging("WE"),
		but: oursBut("early", failure)},
	{name: "the descriptor -1", args: "--fd=-1 --shared-dir {share}", want: outcome{status: "101", stderr: true},
		but: oursBut("panic", failure)},
	{name: "a descriptor that is no number", args: "--fd x --shared-dir {share}", want: usage},
	{name: "--fd -1", args: "--fd -1 --shared-dir {share}", want: usage, but: oursBut("dash", failure)},
	{name: "no directory for the socket", args: "--socket-path {dir}/none/s --shared-dir {share}", want: failure},
	{name: "a file for the socket's directory", args: "--socket-path {dir}/file/s --shared-dir {share}", want: failure},
	{name: "a directory in the place of the socket", args: "--socket-path {dir}/share --shared-dir {share}", want: failure},
	{name: "a file in the place of the socket", args: "--socket-path {dir}/file --shared-dir {share}", socket: "{dir}/file",
		want: served(), but: oursBut("replace", failure)},
	{name: "a long path of the socket", args: "--socket-path {dir}/{long}/s --shared-dir {share}", socket: "{dir}/{long}/s",
		want: failure, but: oursBut("long-socket", served())},
	{name: "an empty path of the socket", args: "--socket-path= --shared-dir {share}", want: failure},
	{name: "a relative path of the socket", args: "--socket-path s --shared-dir share", want: served()},
	{name: "a group for the socket", args: base + "--socket-group daemon", do: greeted, want: served().socketMode("0770 group 1")},
	{name: "a group that does not exist", args: base + "--socket-group nosuchgroup", want: failure},
	{name: "a group by number", args: base + "--socket-group 1", want: failure},
	{name: "an empty group", args: base + "--socket-group=", want: failure},

	// Words.
	runs("--cache auto"), runs("--cache ALWAYS"), runs("--cache Never"), runs("--cache=metadata"),
	refused("--cache none"), refused("--cache="),
	runs("--sandbox NONE"), runs("--sandbox Namespace"), runs("--sandbox=chroot"),
	refused("--sandbox x"), refused("--sandbox="),
	runs("--seccomp none"), runs("--seccomp=log"), runs("--seccomp=trap"), runs("--seccomp kill"),
	refused("--seccomp None"), refused("--seccomp="),
	runs("--inode-file-handles=never"), runs("--inode-file-handles=prefer"), runs("--inode-file-handles=mandatory"),
	warning("--inode-file-handles=fallback", "'fallback'"),
	refused("--inode-file-handles prefer"), refused("--inode-file-handles"), refused("--inode-file-handles=PREFER"),
	refused("--inode-file-handles=x"), refused("--inode-file-handles="),
	runs("--posix-acl"), runs("--security-label"),
	sinceNegotiation(runs("--posix-acl=always")), sinceNegotiation(runs("--posix-acl=auto")),
	sinceNegotiation(runs("--posix-acl=never")), sinceNegotiation(runs("--security-label=auto")),
	sinceNegotiation(runs("--posix-acl --posix-acl=never")),
	refused("--posix-acl auto"), refused("--posix-acl="), refused("--posix-acl=Always"), refused("--posix-acl=on"),
	refused("--security-label=x"),
	runs("--announce-submounts --no-announce-submounts"), runs("--killpriv-v2 --no-killpriv-v2"),
	runs("--log-level INFO"), refused("--log-level verbose"), refused("--log-level="),
	runs("--migration-mode find-paths"), runs("--migration-mode file-handles"), runs("--migration-on-error guest-error"),
	runs("--migration-confirm-paths --migration-verify-handles"),
	refused("--migration-mode x"), refused("--migration-mode=FILE-HANDLES"), refused("--migration-on-error x"),
	failing("--migration-mode file-handles --migration-verify-handles"),
	failing("--migration-mode file-handles --migration-confirm-paths"),

	// Numbers.
	runs("--thread-pool-size=0"), runs("--thread-pool-size 64"), runs("--thread-pool-size=+4"),
	refused("--thread-pool-size=-1"), refused("--thread-pool-size -1"), refused("--thread-pool-size=x"),
	refused("--thread-pool-size="), refused("--thread-pool-size=0x4"), refused("--thread-pool-size=18446744073709551616"),
	runs("--rlimit-nofile=0"), runs("--rlimit-nofile=738"), runs("--rlimit-nofile=2000"),
	warning("--rlimit-nofile=610", "only 0 file descriptors"), warning("--rlimit-nofile=737", "only 127 file descriptors"),
	failing("--rlimit-nofile=609"), failing("--rlimit-nofile=99999999999"), refused("--rlimit-nofile=-1"),

	// Rules.
	runs("--modcaps=-MKNOD:+sys_admin"), runs("--modcaps=-dac_read_search --inode-file-handles=never"),
	failing("--modcaps=x"), failing("--modcaps="), failing("--modcaps=+"), failing("--modcaps=+nosuch"),
	failing("--modcaps=-mknod:"), failing("--modcaps=+cap_mknod"), failing("--modcaps={space}+mknod"),
	failing("--modcaps=-dac_read_search").except(v1_13, "1.13-handles", served()), failing("--modcaps=-dac_read_search --inode-file-handles=mandatory"),
	refused("--modcaps -mknod").except(ours, "dash", served()),
	runs("--xattrmap=:map::user.virtiofs.:"), runs("--xattrmap=:ok:all:::"), runs("--xattrmap=:unsupported:all:::"),
	runs("--xattrmap=:prefix:all:trusted.:user.virtiofs.::ok:all:::"),
	refused("--xattrmap="), refused("--xattrmap=x"), refused("--xattrmap=:foo:all:a:b:"),
	refused("--xattrmap=:prefix:foo:a:b:"), refused("--xattrmap=:map:a:b::ok:all:::"),
	runs("--translate-uid map:0:1000:1"), runs("--translate-uid MAP,0,1000,1"), runs("--translate-uid guest:0:1:5"),
	runs("--translate-uid host:0:1:5"), runs("--translate-uid squash-guest:0:5:4294967295"),
	runs("--translate-uid squash-host:0:5:10"), runs("--translate-gid forbid-guest:0:5"),
	runs("--translate-uid guest:0:1:5 --translate-uid host:0:1:5"),
	refused("--translate-uid x"), refused("--translate-uid map:0:1000"), refused("--translate-uid forbid-guest:0:5:5"),
	refused("--translate-gid foo:1:2:3"), refused("--translate-uid squash-guest:0:5:4294967296"),
	failing("--translate-uid map:0:1000:1 --translate-uid map:0:2000:1"),
	failing("--translate-uid guest:0:1:5 --translate-uid guest:3:100:5"),
	failing("--translate-uid guest:4294967295:5:2").except(ours, "bad-range", usage),
	failing("--posix-acl --translate-gid map:0:1000:1").except(v1_13, "1.13-negotiation", usage),
	sinceNegotiation(failing("--posix-acl=auto --translate-uid map:0:1000:1")),
	sinceNegotiation(runs("--posix-acl=never --translate-uid map:0:1000:1")),
	failing("-o posix_acl --translate-uid map:0:1000:1").except(v1_13, "1.13-acl", served()),

	// User namespaces.
	failing("--uid-map=:0:0:1:"), failing("--gid-map=/0/0/1/"), failing("--uid-map=:0:0:1: --sandbox none"),
	refused("--uid-map=:0:0:1"), refused("--uid-map=0:0:1"), refused("--uid-map=:0:0:"), refused("--uid-map=:a:0:1:"),
	refused("--uid-map=a0a0a1a"), refused("--uid-map=:0:0:99999999999:"), refused("--gid-map=:0:0:1::"), refused("--uid-map"),
	failing("--uid-map=:0:65534:1: --sandbox none").as(true),
	failing("--uid-map=:0:1:1:").as(true),
	failing("--sandbox chroot").as(true),
	failing("--inode-file-handles=mandatory --sandbox none").as(true),
	runs("").as(true),
	runs("--uid-map=:0:65534:1:").as(true),
	runs("--modcaps=+nosuch").as(true).except(ours, "modcaps-user", failure),
}

// sinceNegotiation is a row whose form of --posix-acl or --security-label is new in
// 1.14.
func sinceNegotiation(r row) row { return r.except(v1_13, "1.13-negotiation", usage) }

package compat

// learns is the row of options that a guest notices, with what it learns.
func learns(options, told string) row {
	return row{name: "a guest with " + options, args: base + options, do: session, want: served().telling(told)}
}

// What a guest learns by default, and in parts. The numbers are 1 for DIRECT_IO, 2 for
// KEEP_CACHE and 8 for CACHE_DIR (linux/fuse.h, FOPEN_*).
const (
	aSecond = "entry 1s attr 1s owner 0:0 open 0 opendir 0 "
	noTime  = "entry 0s attr 0s owner 0:0 open 1 opendir 0 unlink ENOENT"
	aDay    = "entry 24h0m0s attr 24h0m0s owner 0:0 "
	usual   = "READDIRPLUS " + aSecond + "unlink ENOENT"
	always  = "READDIRPLUS " + aDay + "open 2 opendir 10 unlink ENOENT"
	acl     = "DONT_MASK READDIRPLUS POSIX_ACL " + aSecond + "xattr unlink ENOENT"
	labels  = "READDIRPLUS SECURITY_CTX " + aSecond + "xattr unlink ENOENT"
	killing = "READDIRPLUS KILLPRIV_V2 " + aSecond + "unlink ENOENT"
	attrs   = "READDIRPLUS " + aSecond + "xattr unlink ENOENT"
)

// guests are what options mean to a guest.
var guests = []row{
	learns("defaults", usual).with(base),
	learns("--cache never", noTime),
	learns("--cache metadata", "READDIRPLUS "+aDay+"open 1 opendir 10 unlink ENOENT"),
	learns("--cache always", always),
	learns("-o cache=none", noTime),
	learns("-o cache=always --cache never", always),
	learns("--no-readdirplus", aSecond+"unlink ENOENT"),
	learns("--no-readdirplus -o readdirplus", usual),
	learns("--writeback", "READDIRPLUS WRITEBACK "+aSecond+"unlink ENOENT"),
	learns("--writeback -o no_writeback", usual),
	learns("--allow-mmap --cache never", "DIRECT_IO_ALLOW_MMAP "+noTime),
	learns("--xattr", attrs),
	learns("--xattr -o no_xattr", usual),
	learns("--xattrmap :map::user.virtiofs.:", attrs),
	learns("--posix-acl", acl),
	sinceNegotiation(learns("--posix-acl=auto", acl)),
	learns("--posix-acl -o no_posix_acl", usual),
	learns("-o posix_acl", acl),
	learns("--security-label", labels),
	sinceNegotiation(learns("--security-label=auto", labels)),
	learns("--killpriv-v2", killing),
	learns("--killpriv-v2 --no-killpriv-v2", usual),
	learns("--no-killpriv-v2 --killpriv-v2", killing),
	learns("--killpriv-v2 -o no_killpriv_v2", usual),
	learns("-o killpriv_v2", killing),
	learns("--no-killpriv-v2 -o killpriv_v2", killing),
	learns("--readonly", "READDIRPLUS "+aSecond+"unlink EROFS"),
	learns("--inode-file-handles=never", usual),
	learns("--translate-uid host:0:500:1 --translate-gid squash-host:0:7:10", "READDIRPLUS entry 1s attr 1s owner 500:7 open 0 opendir 0 unlink ENOENT"),
	learns("--translate-uid map:500:0:1", "READDIRPLUS entry 1s attr 1s owner 500:0 open 0 opendir 0 unlink ENOENT"),
	learns("--sandbox chroot", usual),
	learns("--sandbox none", usual),
}

// with returns the row with another command line.
func (r row) with(args string) row { r.args = args; return r }

package compat

// reasons say why a daemon does not do as virtiofsd 1.14.0. Each stands, word for
// word, in docs/virtiofsd-compatibility.md.
var reasons = map[string]string{
	// Ours.
	"version":      "`-V` also names isthmus and its version.",
	"migration":    "Migration is not offered: `migrate-precopy` is not among the capabilities, and the protocol feature `DEVICE_STATE` is absent.",
	"tidy":         "A daemon that ends because its VM has gone removes its socket and its pid file.",
	"comma":        "`,,` in a list of `-o` is one comma inside an item, which is how libvirt writes a path with a comma.",
	"equals":       "Everything after the first `=` of an item of `-o` is its value, so a path may have one.",
	"bytes":        "File names are bytes, as for the kernel, and need not be UTF-8.",
	"file":         "A single file can be shared in every sandbox.",
	"dash":         "A value that begins with a dash may stand for itself, as in `--modcaps -mknod`.",
	"long-socket":  "The path of the socket may be longer than a socket address.",
	"replace":      "Only a socket is replaced by the new one; any other file in its place is an error.",
	"bad-range":    "A range of ids that goes past the highest one is found with the command line.",
	"modcaps-user": "`--modcaps` is checked for ordinary users too.",
	"panic":        "The descriptor number -1 is an error message, not a panic.",
	"early":        "The waiting line comes when a VM can be served, after the inherited socket was looked at.",

	// Other versions of virtiofsd.
	"1.13-negotiation": "1.13 has no values for `--posix-acl` and `--security-label`, and says so in its capabilities; it refuses id translation beside `--posix-acl` as a mistake in the command line.",
	"1.13-acl":         "1.13 overlooks id translation beside `-o posix_acl`.",
	"1.13-handles":     "1.13 uses no file handles unless it is told to.",
	"1.13-root":        "1.13 cannot share the root directory.",

	// The C one.
	"c-status":       "The C daemon ends with status 1 for every error.",
	"c-options":      "The C daemon does not know the option, or not in this spelling.",
	"c-log":          "The C daemon has other messages, and but for the waiting line none that launchers wait for.",
	"c-pid":          "The C daemon has its pid files in `/run/virtiofsd`.",
	"c-late":         "The C daemon looks at some values only when the VM has connected.",
	"c-more":         "The C daemon takes what 1.14.0 refuses in lists of `-o`: `timeout`, `log_level`, `max_idle_threads`, `allow_root`, `debug`, `flock`, `posix_lock`.",
	"c-version":      "The C daemon has versions of its own.",
	"c-capabilities": "The C daemon has no features to name in `--print-capabilities`.",
	"c-order":        "The C daemon answers what it is asked for whatever else is on the command line.",
	"c-acl":          "The C daemon takes `posix_acl` only with `xattr`.",
}

package compat

// list is the row of an -o list that is fine.
func list(o string) row {
	return row{name: "-o " + o, args: baseC + "-o " + o, want: served()}
}

// noList is the row of an -o list that is refused.
func noList(o string) row {
	return row{name: "-o " + o, args: baseC + "-o " + o, want: usage}
}

// onlyC is the row of an -o option that only the C daemon takes.
func onlyC(o string) row {
	return noList(o).except(legacyC, "c-more", servedC())
}

// lists are what -o does, and the other ways of old.
var lists = []row{
	list("xattr"), list("no_xattr"), list("readdirplus"), list("no_readdirplus"), list("writeback"), list("no_writeback"),
	list("allow_direct_io"), list("no_allow_direct_io"), list("announce_submounts"), list("killpriv_v2"), list("no_killpriv_v2"),
	list("posix_acl").except(legacyC, "c-acl", failureC()), list("no_posix_acl"), list("security_label"), list("no_security_label"), list("no_posix_lock"), list("no_flock"),
	list("cache=auto"), list("cache=always"), list("cache=none"), list("cache=metadata").except(legacyC, "c-options", failureC()),
	list("sandbox=namespace"), list("sandbox=chroot"),
	list("loglevel=debug").except(legacyC, "c-options", failureC()), list("loglevel=info").except(legacyC, "c-options", failureC()),
	list("xattrmap=:map::user.virtiofs.:"), list("modcaps=+sys_admin:-chown"),
	list("xattr,cache=none,no_xattr,cache=auto"),
	list("xattr -o no_xattr"),
	{name: "-oxattr", args: baseC + "-oxattr", want: served()},
	{name: "-o=xattr", args: baseC + "-o=xattr", want: served(), but: map[kind]but{legacyC: {"c-options", failureC()}}},
	{name: "-o warns", args: baseC, warn: "'-o'", want: served().warning(), but: map[kind]but{legacyC: {"c-log", servedC()}}},

	onlyC("posix_lock"), onlyC("flock"), onlyC("timeout=5"), onlyC("log_level=debug"), onlyC("allow_root"), onlyC("debug"), onlyC("max_idle_threads=5"),
	noList("foo"), noList("xattr=1"), noList("source"), noList("a=b=c"), noList("no_announce_submounts"), noList("xattr,,no_xattr"),
	noList("cache=never"), noList("cache=x"), noList("cache=Auto"), noList("sandbox=none"), noList("sandbox=Namespace"),
	noList("loglevel=error"), noList("loglevel=Debug"), noList("xattrmap=x"),
	{name: "-o without a list", args: baseC + "-o", want: usage},
	{name: "-o and nothing", args: baseC + "-o {empty}", want: usage},
	{name: "-o ,", args: baseC + "-o ,", want: usage},
	{name: "--compat-options", args: baseC + "--compat-options xattr", want: usage},
	{name: "-o modcaps=x", args: baseC + "-o modcaps=x", want: failure, but: map[kind]but{legacyC: {"c-late", servedC().ending("1")}}},

	{name: "source over --shared-dir", args: "--socket-path={socket} --shared-dir {dir}/none -o source={share}", want: served()},
	{name: "source over a later --shared-dir", args: "--socket-path={socket} -o source={dir}/none --shared-dir {share}", want: failure},
	{name: "the last source", args: "--socket-path={socket} -o source={dir}/none -o source={share}", want: served()},
	{name: "a source that is not there", args: "--socket-path={socket} -o source={dir}/none", want: failure},
	{name: "an empty source", args: "--socket-path={socket} -o source=", want: failure},
	{name: "a source with a comma", args: "--socket-path={socket} -o source={dir}/with,,comma,xattr", want: usage,
		but: oursBut("comma", served())},
	{name: "a source with an equals sign", args: "--socket-path={socket} -o source={dir}/with=equals", want: usage,
		but: map[kind]but{ours: {"equals", served()}, legacyC: {"equals", servedC()}}},
	{name: "a list over an option", args: base + "--modcaps=x -o modcaps=+mknod", want: served()},
	{name: "a list over a later option", args: "-o modcaps=x --modcaps=+mknod " + base, want: failure},
	{name: "the last of a list", args: base + "-o modcaps=+mknod,modcaps=x", want: failure},

	warning("-d", "'-d'"), warning("-f", "'-f'"), warning("-df", "'-f'"),

	// The log.
	{name: "--log-level off", args: base + "--log-level off", want: served().logging("")},
	{name: "--log-level error", args: base + "--log-level error", want: served().logging("")},
	{name: "--log-level off and a failure", args: "--socket-path {socket} --shared-dir {dir}/none --log-level off", want: failure.logging("")},
	{name: "--log-level trace", args: base + "--log-level trace", want: served()},
	{name: "loglevel=err", args: base + "-o loglevel=err", want: served().logging("")},
	{name: "loglevel over --log-level", args: base + "-o loglevel=info --log-level off", want: served()},
	{name: "-d over --log-level", args: base + "--log-level off -d", want: served()},
	{name: "-d over loglevel", args: base + "-d -o loglevel=err", want: served()},
	{name: "RUST_LOG over --log-level", args: base + "--log-level off", env: []string{"RUST_LOG=info"}, want: served()},
	{name: "RUST_LOG silences", args: base + "-d", env: []string{"RUST_LOG=off"}, want: served().logging("")},
	{name: "RUST_LOG is empty", args: base, env: []string{"RUST_LOG="}, want: served().logging("")},
	{name: "RUST_LOG for another program", args: base, env: []string{"RUST_LOG=foo=debug"}, want: served().logging("")},
	{name: "RUST_LOG for virtiofsd", args: base + "--log-level off", env: []string{"RUST_LOG=error,virtiofsd=info"}, want: served()},
}

// Package spec turns what the owner writes into a list of mounts: values of
// --share, tables of a configuration file, uhyve's mappings. It looks at text only
// and opens nothing but that file: whether a source exists, and what it is, is
// found out by whoever opens the mounts.
//
// One table of options ([Options]) is behind the command line, TOML, help and
// docs/shares.md. Whatever is not understood is an error ([Error]) that names the
// place, what was found and what is allowed; nothing is ignored.
//
// # Short form
//
//	VALUE   = HOST [ ":" GUEST [ ":" OPTION { "," OPTION } ] ]
//	OPTION  = WORD | WORD "=" TEXT
//
// In HOST and GUEST a \ stands before each : , and \ that belongs to the path. In
// an option's text, which goes to the next comma, a : needs none, but may have
// one. A \ before anything else, or at the end, is an error. HOST and GUEST cannot
// be empty: so a variable of the shell that is not set does not become another
// path. Without GUEST the target is /.
//
// # Long form
//
//	VALUE   = OPTION { "," OPTION }
//
// where HOST and GUEST are the options source and target. A \ is as above.
//
// A value is in the long form if it begins with a lower-case letter, any number of
// lower-case letters, digits and dashes, and =. It does not matter whether there is
// such an option: so a mistake in the first word is found, and an option that a
// later version adds does not change what a value means. A path of the host that
// begins like that, such as a=b, is written ./a=b; /srv/a=b needs nothing. As
// commas in a path of the short form have a \, a long form that begins with a bare
// WORD is an error rather than a path.
//
// # Options
//
// A flag is the bare WORD, WORD=true or WORD=false. An option is said once; those that
// are lists (io, translate-uid, translate-gid) are repeated, and their values add
// up. An option that makes no sense for the type of the mount is an error. For
// type=auto these are the ones that are neither for a directory nor for a file;
// when the source has been opened, [Mount.As] checks once more.
//
// Sizes are whole numbers, of bytes or of K, M, G, T or KiB, MiB, GiB, TiB, which are
// powers of 1024. KB, MB and the like are refused, as they mean 1000 to some and 1024
// to others. Times are as [time.ParseDuration] has them, not negative.
//
// # Paths
//
// A path of the host is taken as it is. It may be relative: to the working directory,
// or in a file that [ParseFile] reads, to that file's directory. ~ is not
// replaced; a path that begins with it is an error.
//
// A path of the guest is absolute. Double slashes, a slash at the end and "." are
// taken away; ".." is refused, as it means one thing as text and another where there
// are symbolic links.
//
// Both are bytes; only in TOML they must be UTF-8.
//
// # TOML
//
// Settings of the daemon ([Settings]) are keys above all tables, and each [[share]]
// is a mount, with the same words as on the command line: flags are booleans, numbers
// integers, sizes strings or integers, lists arrays of strings or one string, all
// others strings.
// \ has no other meaning than TOML's. Mistakes are found all at once.
//
// # uhyve
//
// [ParseUhyveMapping] reads HOST[:GUEST[:ro]] as uhyve's --file-mapping has it: the
// mount is a directory or a file, GUEST may lack its leading slash and is cleaned as
// text, with "." and ".."; and without it the file stands where it does on the
// host. An unlink of what a mapping below a directory leads to removes the host's
// file. That of a file that is a mapping itself removes mapping and file
// (unlink=delete); with ro neither. Otherwise than in uhyve
//
//   - \: stands for a colon and \\ for a backslash; any other backslash is one;
//   - a fourth part, and a third that is not ro, is an error rather than ignored;
//   - a GUEST that leads out of the root is an error rather than never found;
//   - mappings may lie inside of each other, and one may be at /;
//   - removing a directory that is a mapping is EBUSY rather than the loss of the
//     mapping;
//   - a symbolic link in a mapped directory is the guest's to follow, and so never
//     leads out of it;
//   - what is wrong is an error with its place rather than a panic.
//
// HOST must exist. What uhyve does with one that does not, the mapping of the
// directory that it is to be in does.
//
// What a guest creates outside of all mappings uhyve keeps until the end of the run.
// That is type=scratch,target=/ beside the mappings.
//
// Its --io-mode host=direct,sync is io=direct,io=sync, which here is in effect for
// all files of a mount and not only for new ones.
//
// A Hermit image, a tar.gz with hermit.toml, is
//
//	type=archive,source=IMAGE,target=/
//
// where nothing can be changed, and as uhyve treats it, with a guest that may remove
// files of the image and create others,
//
//	type=overlay,lower=archive,source=IMAGE,target=/
//
// beside the mappings, which may lie over files of the image. A write to one of these
// stays in the overlay; in uhyve it ends the virtual machine. Reading hermit.toml is the
// business of who starts the guest.
//
// # Concurrency
//
// All functions may be called at any time from any goroutine.
package spec

// Package runspec turns what the owner writes about a machine that runs a Hermit
// guest into a [Machine]: flags of `isthmus run` and of uhyve, variables of the
// environment, and uhyve's configuration file. It looks at text only and opens
// nothing but that file.
//
// One table of options ([Options]) is behind the command line, the environment, TOML,
// help and docs/hermit.md, so a value is checked in the same way wherever it comes
// from. Whatever is not understood is an error ([spec.Error]) that names the place, what
// was found and what is allowed; nothing is ignored.
//
// # Precedence
//
// The command line prevails over the environment, that over the configuration file, and
// that over what is usual. Each option is decided by itself. Those that may be repeated
// (env-vars, file-mapping, share) add up instead: the file's come first, and of two
// values for one variable the later one holds. An environment variable that is empty is
// one that is not set.
//
// # Configuration file
//
// The first of these that there is, and no other:
//
//   - what --config names, or HERMIT_CONFIG: it must exist;
//   - uhyve.toml in the working directory;
//   - uhyve/uhyve.toml in $XDG_CONFIG_HOME, or where that is not set, in $HOME/.config, which
//     is what the XDG Base Directory Specification has as its default and uhyve has not.
//     That specification has relative paths in the variable ignored, and so they are.
//
// Its relative paths are relative to the working directory, as in uhyve, not to the
// directory that the file is in.
//
// # Arguments
//
// See [SplitUhyve] and [SplitRun].
//
// # Concurrency
//
// All functions may be called at any time from any goroutine.
package runspec

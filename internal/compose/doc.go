// Package compose makes the tree that a guest sees out of what its owner asked for:
// it opens the sources of mounts, puts their rules around them and mounts them in one
// tree, which mounts may be added to and taken from while guests use it.
//
//	spec.Mount, what the owner wrote
//	   │ Settle: is it a directory or a file? Fill: options for all mounts. Decide
//	   ▼
//	Mount: all that is decided, nothing opened
//	   │ Files opened by whoever may: archives, private data files, directories that
//	   │ a file is to be removed from
//	   ▼
//	Share: passthrough, archive, scratch, overlay → rules → tree
//
// The three steps may be three processes, or one at three times: the owner's words
// are read with the rights of the user, files opened before the process is closed in,
// and everything that looks into them happens afterwards.
//
// # Order of rules
//
// From the source to the guest: names of extended attributes, ids, nodev, noexec and
// nosuid, read-only. Under an overlay the first two are of the source alone, as they
// say what is different on the host: private space keeps what the guest says.
//
// # Concurrency
//
// The methods of a [Share] may be called from any number of goroutines.
package compose

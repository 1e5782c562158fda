package vfstest

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	noReplace = unix.RENAME_NOREPLACE
	exchange  = unix.RENAME_EXCHANGE
	whiteout  = unix.RENAME_WHITEOUT
)

// renameScenarios rename everything to everything.
func renameScenarios(s *suite) []scenario {
	lacks := s.Lacks
	// Each pair of kinds: the host says which may replace which.
	kinds := []struct {
		name string
		make func(p string) []op
	}{
		{"absent", func(string) []op { return nil }},
		{"file", func(p string) []op { return []op{mkfile(p, p, 0o644)} }},
		{"empty", func(p string) []op { return []op{mkdir(p, 0o755)} }},
		{"full", func(p string) []op { return []op{mkdir(p, 0o755), mkfile(p+"/x", "", 0o644)} }},
		{"link", func(p string) []op { return []op{symlink("t", p)} }},
		{"fifo", func(p string) []op { return []op{mknod(p, unix.S_IFIFO|0o644, 0)} }},
	}
	if lacks&NoSpecial != 0 {
		kinds = kinds[:len(kinds)-1]
	}
	all := func(flags uint32) []op {
		var ops []op
		for _, from := range kinds {
			for _, to := range kinds {
				a, b := from.name+" to "+to.name, "over "+from.name+" to "+to.name
				ops = append(ops, from.make(a)...)
				ops = append(ops, to.make(b)...)
				ops = append(ops, whatever(rename(a, b, flags)))
			}
		}
		return ops
	}
	list := []scenario{
		{"every kind over every kind", all(0)},
		{"every kind over every kind, no replace", all(noReplace)},
		{"between directories", []op{
			mkdir("a", 0o755), mkdir("b", 0o755), mkdir("a/d", 0o755), mkfile("a/d/f", "inside", 0o644), stat("a"), stat("b"),
			rename("a/d", "b/e", 0), cat("b/e/f"), stat("a"), stat("b"), fails(syscall.ENOENT, stat("a/d")),
			rename("b/e/f", "f", 0), rename("b/e", "e", 0), rename("f", "e/f", 0), cat("e/f"),
			mkdir("b/e", 0o755), rename("e", "b/e", 0), cat("b/e/f"), stat(""), readdir("b"),
		}},
		{"into itself", []op{
			mkdir("a", 0o755), mkdir("a/b", 0o755), mkdir("a/b/c", 0o755),
			fails(syscall.EINVAL, rename("a", "a/x", 0)), fails(syscall.EINVAL, rename("a", "a/b/c/x", 0)),
			fails(syscall.EINVAL, rename("a", "a/b", 0)), fails(syscall.ENOTEMPTY, rename("a/b/c", "a", 0)),
			fails(syscall.ENOTEMPTY, rename("a/b", "a", 0)), stat("a/b/c"),
		}},
		{"onto itself", []op{
			mkfile("f", "x", 0o644), mkdir("d", 0o755), rename("f", "f", 0), rename("d", "d", 0),
			fails(syscall.EEXIST, rename("f", "f", noReplace)), fails(syscall.ENOENT, rename("no", "no", 0)), cat("f"),
		}},
		{"missing", []op{
			mkfile("f", "x", 0o644), mkdir("d", 0o755),
			fails(syscall.ENOENT, rename("no", "f", 0)), fails(syscall.ENOENT, rename("f", "no/f", 0)), fails(syscall.ENOENT, rename("d/no", "g", 0)),
			fails(syscall.ENOTDIR, rename("f", "f/g", 0)), fails(syscall.ENAMETOOLONG, rename("f", strings.Repeat("x", 256), 0)),
		}},
		{"replaced while open", []op{
			mkfile("a", "new", 0o644), mkfile("b", "old", 0o644), open("b", "b", rdwr, 0), rename("a", "b", 0), pread("b", 9, 0), fstat("b"), cat("b"),
			mkdir("d", 0o755), mkdir("e", 0o755), open("e", "e", unix.O_DIRECTORY, 0), rename("d", "e", 0), stat("e"), readdir("e"),
		}},
		{"bad flags", []op{
			mkfile("a", "", 0o644), mkfile("b", "", 0o644),
			fails(syscall.EINVAL, rename("a", "c", noReplace|exchange)), fails(syscall.EINVAL, rename("a", "b", whiteout|exchange)),
			fails(syscall.EINVAL, rename("a", "c", 8)), fails(syscall.EINVAL, rename("a", "c", 1<<31)), readdir(""),
		}},
	}
	if lacks&NoHardLinks == 0 {
		list = append(list, scenario{"over another name of the same file", []op{
			mkfile("f", "x", 0o644), link("f", "g"), rename("f", "g", 0), stat("f"), stat("g"),
			fails(syscall.EEXIST, rename("f", "g", noReplace)), rename("g", "h", 0), stat("h"),
		}})
	}
	if lacks&NoRenameFlags == 0 {
		list = append(list,
			scenario{"every kind exchanged with every kind", all(exchange)},
			scenario{"exchange between directories", []op{
				mkdir("a", 0o755), mkdir("b", 0o755), mkdir("a/d", 0o700), mkfile("a/d/in", "1", 0o644), mkfile("b/f", "2", 0o600),
				rename("a/d", "b/f", exchange), cat("a/d"), cat("b/f/in"), stat("a"), stat("b"),
				fails(syscall.EINVAL, rename("b", "b/f", exchange)), fails(syscall.EINVAL, rename("b/f", "b", exchange)), rename("b/f", "b/f", exchange),
			}})
		if lacks&NoSpecial == 0 {
			list = append(list, scenario{"whiteout", []op{
				mkfile("f", "x", 0o644), rename("f", "g", whiteout), stat("f"), cat("g"), mkdir("d", 0o755), rename("d", "e", whiteout), stat("d"),
				mkfile("h", "y", 0o644), rename("g", "h", whiteout), stat("g"), cat("h"),
				fails(syscall.EEXIST, rename("h", "g", whiteout|noReplace)), rename("h", "i", whiteout|noReplace), stat("h"), readdir(""),
			}})
		}
	}
	return list
}

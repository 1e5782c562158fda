package passthrough

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/vfs"
)

// configs are the ways in which nodes may be held.
var configs = map[string]Config{
	"fds":        {FileHandles: HandlesNever},
	"handles":    {FileHandles: HandlesMandatory},
	"one cached": {FileHandles: HandlesMandatory, MaxCachedFDs: 1},
	"io modes":   {FileHandles: HandlesNever, IO: IODirect | IOSync},
}

func eachConfig(t *testing.T, f func(t *testing.T, fs *FS, dir string)) {
	eachFS(t, func(t *testing.T, dir string) {
		for name, cfg := range configs {
			t.Run(name, func(t *testing.T) {
				sub := join(dir, name)
				if err := os.Mkdir(sub, 0o755); err != nil {
					t.Fatal(err)
				}
				cfg.Path = sub
				f(t, share(t, cfg), sub)
			})
		}
	})
}

// TestTableModel compares the table with a model under random lookups,
// forgets, removals and replacements on the host.
func TestTableModel(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		names := []string{"a", "b", "c", "d", "e"}
		rapid.Check(t, func(rt *rapid.T) {
			type known struct {
				ino  uint64
				refs uint64
			}
			nodes := map[vfs.NodeID]*known{}
			var past []vfs.NodeID
			pick := rapid.SampledFrom(names)
			rt.Repeat(map[string]func(*rapid.T){
				"create": func(rt *rapid.T) {
					if err := os.WriteFile(join(dir, pick.Draw(rt, "name")), nil, 0o644); err != nil {
						rt.Fatal(err)
					}
				},
				"remove": func(rt *rapid.T) { os.Remove(join(dir, pick.Draw(rt, "name"))) },
				"rename": func(rt *rapid.T) {
					os.Rename(join(dir, pick.Draw(rt, "from")), join(dir, pick.Draw(rt, "to")))
				},
				"lookup": func(rt *rapid.T) {
					n := pick.Draw(rt, "name")
					var st syscall.Stat_t
					hostErr := syscall.Lstat(join(dir, n), &st)
					var e vfs.Entry
					errno := fs.Lookup(&root, vfs.Root, name(t, n), &e)
					if hostErr != nil {
						if errno != syscall.ENOENT {
							rt.Fatalf("lookup of a name that is not there: %v", errno)
						}
						return
					}
					if errno != 0 {
						rt.Fatal(errno)
					}
					if e.Attr.Ino != st.Ino {
						rt.Fatalf("inode %d, want %d", e.Attr.Ino, st.Ino)
					}
					k := nodes[e.Node]
					if k == nil {
						k = &known{ino: st.Ino}
						nodes[e.Node] = k
					}
					if k.ino != st.Ino {
						rt.Fatalf("node %#x stood for inode %d and now for %d", e.Node, k.ino, st.Ino)
					}
					var a vfs.AttrOut
					if errno := fs.Getattr(&root, e.Node, vfs.NoHandle, &a); errno != 0 || a.Attr.Nlink != 1 {
						rt.Fatalf("getattr of a found file: %v, %d links", errno, a.Attr.Nlink)
					}
					k.refs++
				},
				"forget": func(rt *rapid.T) {
					for id, k := range nodes {
						n := rapid.Uint64Range(1, k.refs+1).Draw(rt, "count")
						fs.Forget(id, n)
						if n >= k.refs {
							delete(nodes, id)
							past = append(past, id)
						} else {
							k.refs -= n
						}
						break
					}
				},
				"": func(rt *rapid.T) {
					if got, want := fs.Stats().Nodes, len(nodes)+1; got != want {
						rt.Fatalf("%d nodes, want %d", got, want)
					}
					for id, k := range nodes {
						var a vfs.AttrOut
						errno := fs.Getattr(&root, id, vfs.NoHandle, &a)
						if errno == 0 && a.Attr.Ino != k.ino {
							rt.Fatalf("node %#x: inode %d, want %d", id, a.Attr.Ino, k.ino)
						}
						if errno != 0 && errno != syscall.ESTALE {
							rt.Fatalf("node %#x: %v", id, errno)
						}
					}
					for _, id := range past {
						var a vfs.AttrOut
						if errno := fs.Getattr(&root, id, vfs.NoHandle, &a); nodes[id] == nil && errno != syscall.ESTALE {
							rt.Fatalf("forgotten node %#x: %v", id, errno)
						}
					}
				},
			})
			for id := range nodes {
				fs.Forget(id, ^uint64(0))
			}
			if got := fs.Stats().Nodes; got != 1 {
				rt.Fatalf("%d nodes after everything was forgotten", got)
			}
		})
	})
}

// TestTableRace has lookups and forgets of the same few files race. Each entry
// must be usable until its own reference is given back.
func TestTableRace(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		const files = 4
		for i := range files {
			write(t, join(dir, fmt.Sprint(i)), "")
		}
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 2000 {
					var e vfs.Entry
					n, _ := vfs.MakeName(fmt.Sprint((g + i) % files))
					if errno := fs.Lookup(&root, vfs.Root, n, &e); errno != 0 {
						t.Errorf("lookup: %v", errno)
						return
					}
					var a vfs.AttrOut
					if errno := fs.Getattr(&root, e.Node, vfs.NoHandle, &a); errno != 0 || a.Attr.Ino != e.Attr.Ino {
						t.Errorf("getattr: %v, inode %d, want %d", errno, a.Attr.Ino, e.Attr.Ino)
						return
					}
					fs.Forget(e.Node, 1)
				}
			})
		}
		wg.Wait()
		if s := fs.Stats(); s.Nodes != 1 {
			t.Errorf("%+v, want one node", s)
		}
	})
}

func TestForgedIDs(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		write(t, join(dir, "f"), "")
		e := walk(t, fs, "f")
		stale := e.Node
		fs.Forget(stale, 1)
		fs.Forget(stale, 1)
		e = walk(t, fs, "f")
		if e.Node == stale {
			t.Fatalf("the forgotten id %#x was given out again", stale)
		}
		if uint32(e.Node) != uint32(stale) {
			t.Errorf("the slot of %#x was not reused, but %#x", stale, e.Node)
		}
		for _, id := range []vfs.NodeID{0, stale, e.Node + 1, e.Node | 1<<47, vfs.MaxNodeID, vfs.MaxNodeID + 1, 1 << 32, ^vfs.NodeID(0), vfs.Root | 1<<48, e.Node | 1<<63} {
			var a vfs.AttrOut
			var o vfs.Opened
			var en vfs.Entry
			want(t, "getattr", fs.Getattr(&root, id, vfs.NoHandle, &a), syscall.ESTALE)
			want(t, "open", fs.Open(&root, id, 0, false, &o), syscall.ESTALE)
			want(t, "lookup", fs.Lookup(&root, id, name(t, "f"), &en), syscall.ESTALE)
			want(t, "link", fs.Link(&root, id, vfs.Root, name(t, "g"), &en), syscall.ESTALE)
			want(t, "unlink", fs.Unlink(&root, id, name(t, "f")), syscall.ESTALE)
			fs.Forget(id, 1)
		}
		fs.Forget(vfs.Root, ^uint64(0))
		if s := fs.Stats(); s.Nodes != 2 {
			t.Errorf("%d nodes, want the root and one file", s.Nodes)
		}
		var a vfs.AttrOut
		want(t, "getattr of the root after forgetting it", fs.Getattr(&root, vfs.Root, vfs.NoHandle, &a), 0)
	})
}

// TestForgetAll looks at more files than a chunk of the table holds, forgets
// them, and wants everything back.
func TestForgetAll(t *testing.T) {
	const files = 20_000
	dir := tempDir(t, "/dev/shm")
	for i := range files {
		write(t, join(dir, fmt.Sprint(i)), "")
	}
	for cfgName, cfg := range configs {
		t.Run(cfgName, func(t *testing.T) {
			files := files
			if cfg.FileHandles == HandlesNever {
				files = 2000 // each costs a descriptor
			}
			cfg.Path = dir
			cfg.MaxFDs = files + 100
			fs := share(t, cfg)
			before, stats := openFDs(t), fs.Stats()
			var slots uint32
			for round := range 2 {
				ids := make([]vfs.NodeID, files)
				for i := range ids {
					var e vfs.Entry
					if errno := fs.Lookup(&root, vfs.Root, name(t, fmt.Sprint(i)), &e); errno != 0 {
						t.Fatal(errno)
					}
					ids[i] = e.Node
				}
				if got := fs.Stats().Nodes; got != files+1 {
					t.Fatalf("%d nodes, want %d", got, files+1)
				}
				for _, id := range ids {
					fs.Forget(id, 1)
				}
				if got := fs.Stats(); got != stats {
					t.Errorf("%+v after everything was forgotten, want %+v", got, stats)
				}
				if got := openFDs(t); got != before {
					t.Errorf("%d descriptors, want %d", got, before)
				}
				if round == 0 {
					slots = fs.nodes.next
				} else if fs.nodes.next != slots {
					t.Errorf("the table grew from %d to %d slots", slots, fs.nodes.next)
				}
			}
		})
	}
}

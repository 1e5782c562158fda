package hermittest

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// upstreamTest is a test of uhyve's, told again.
type upstreamTest struct {
	name string // uhyve's
	want string // what uhyve's expects
	ours string // what differs in ours, and why; "" for nothing
	run  func(t *testing.T, kernel string)
}

// upstreamTests are uhyve's integration tests.
var upstreamTests = []upstreamTest{
	{
		"create_mapped_parent_nonpresent_file", "exit code 0", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			g := mapped(kernel, s.path("single")+":/uhyve_mount", "create_mapped_parent_nonpresent_file")
			g.passes(t)
			gone(t, s.path("single/file"))
		},
	},
	{
		"create_write_mapped_nonpresent_file", `exit code 0, and the host's file holds "Hello, world!"`, "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			g := mapped(kernel, s.path("single/missing")+":/root/foo.txt", "create_write_mapped_nonpresent_file")
			g.passes(t)
			holds(t, s.path("single/missing"), "Hello, world!")
		},
	},
	{
		"create_write_unmapped_nonpresent_file", "exit code 0", "",
		func(t *testing.T, kernel string) {
			temp := t.TempDir()
			g := &guest{kernel: kernel, flags: []string{"--tempdir=" + temp}, args: []string{"create_write_unmapped_nonpresent_file"}}
			g.passes(t)
			if left := names(t, temp); left != "" {
				t.Errorf("left behind: %s", left)
			}
		},
	},
	{
		"remove_mapped_present_file", "exit code 0, and the host's file is gone", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			mapped(kernel, s.path("single/one")+":/root/file_to_remove.txt", "remove_file").passes(t)
			gone(t, s.path("single/one"))
			holds(t, s.path("single/sibling"), "not the guest's")
		},
	},
	{
		"remove_mapped_parent_present_file", "exit code 0, and the host's file is gone", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			mapped(kernel, s.path("single")+":/root", "remove_file", "name=/root/one").passes(t)
			gone(t, s.path("single/one"))
		},
	},
	{
		"remove_nonpresent_file_test", "another exit code than 0", "",
		func(t *testing.T, kernel string) { panics(t, &guest{kernel: kernel, args: []string{"remove_file"}}) },
	},
	{
		"fd_open_remove_close", "exit code 0", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			mapped(kernel, s.path("data")+":/root", "fd_open_remove_close").passes(t)
			(&guest{kernel: kernel, args: []string{"fd_open_remove_close"}}).passes(t)
			gone(t, s.path("data/opened.txt"))
		},
	},
	{
		"fd_open_remove_before_and_after_closing", "exit code -1, in a mapping and outside of all", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			panics(t, mapped(kernel, s.path("data")+":/root", "fd_open_remove_before_and_after_closing"))
			panics(t, &guest{kernel: kernel, args: []string{"fd_open_remove_before_and_after_closing"}})
		},
	},
	{
		"fd_remove_twice_before_closing", "another exit code than 0", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			panics(t, mapped(kernel, s.path("data")+":/root", "fd_remove_twice_before_closing"))
			panics(t, &guest{kernel: kernel, args: []string{"fd_remove_twice_before_closing"}})
		},
	},
	{
		"open_read_only_write", "uhyve itself crashes",
		"the guest goes on: from version 2 on it is told EBADF; before, a write has no answer and is counted as failed",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			check(t, os.WriteFile(s.path("data/read_only.txt"), []byte("as it was"), 0o644))
			g := mapped(kernel, s.path("data")+":/root", "open_read_only_write")
			g.flags = append(g.flags, "--stats=json")
			if n := statsOf(t, g.passes(t)).failed("FileWrite"); n != 1 {
				t.Errorf("%d writes failed", n)
			}
			holds(t, s.path("data/read_only.txt"), "as it was")
		},
	},
	{
		"fd_write_to_fd", "what is written to descriptors 1 and 2 is in the output; descriptor 42 is an error; one that was leaked can be used; exit code 0",
		"",
		func(t *testing.T, kernel string) {
			g := &guest{kernel: kernel, args: []string{"fd_write_to_fd"}}
			if r := g.passes(t); r.out != "Wrote to stdout manually!\nWrote to stderr manually!\n" {
				t.Error(r)
			}
		},
	},
	{
		"lseek_test", "exit code 0", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			mapped(kernel, s.path("data")+":/root", "lseek_test").passes(t)
			holds(t, s.path("data/lseek_file"), "lseek is a syscall.")
			(&guest{kernel: kernel, args: []string{"lseek_test"}}).passes(t)
		},
	},
	{
		"mounts_test", "exit code 0: five mappings have their content", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			g := &guest{kernel: kernel, args: []string{"mounts_test"}}
			for dir, file := range map[string][2]string{"1": {"test_a.txt", "12345"}, "2": {"test_b.txt", "abcde"}, "3": {"test_c.txt", "a1b2c3"}} {
				check(t, os.Mkdir(s.path(dir), 0o755))
				check(t, os.WriteFile(s.path(dir+"/"+file[0]), []byte(file[1]), 0o644))
			}
			for guest, host := range map[string]string{
				"/testdir1": "1", "/testdir2": "2", "/testdir4": "3", "/a/very/deep/path": "2", "/anothermountpoint/test_a.txt": "1/test_a.txt",
			} {
				g.flags = append(g.flags, "--file-mapping="+s.path(host)+":"+guest)
			}
			g.passes(t)
		},
	},
	{
		"getdents_test", `".", ".." and the file are listed, with the type of a directory for the first two`, "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			mapped(kernel, s.path("ro")+":/testdir", "getdents_test").passes(t)
		},
	},
	{
		"hypercall_stat", "exit code 0: the attributes are not empty", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			mapped(kernel, s.path("data/big")+":/root/stat.txt", "hypercall_stat").passes(t)
		},
	},
	{
		"hypercall_fstat", "exit code 0: the attributes are not empty", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			mapped(kernel, s.path("data/big")+":/root/stat.txt", "hypercall_fstat").passes(t)
		},
	},
	{
		"hypercall_mkdir", "exit code 0; one Mkdir and three FileOpen are counted; in a mapping the host has the files", "",
		func(t *testing.T, kernel string) {
			s := newShare(t)
			for _, g := range []*guest{mapped(kernel, s.path("single")+":/root", "hypercall_mkdir"), {kernel: kernel, args: []string{"hypercall_mkdir"}}} {
				g.flags = append(g.flags, "--stats=json")
				stats := statsOf(t, g.passes(t))
				if stats.count("Mkdir") != 1 || stats.count("FileOpen") != 3 {
					t.Errorf("%d of Mkdir, %d of FileOpen", stats.count("Mkdir"), stats.count("FileOpen"))
				}
			}
			for _, name := range []string{"a", "b", "c"} {
				holds(t, s.path("single/made/"+name+".txt"), "Hello, world!")
			}
		},
	},
	{
		"env", "all pairs that were given are printed, with emoji and semicolons; with host, PWD is among them", "",
		func(t *testing.T, kernel string) {
			g := &guest{kernel: kernel, flags: []string{"-eASDF=asdf", "-eEMOJI=\U0001f600", "-eTEMP=\"foo;bar\""}, args: []string{"env"}, env: []string{"PWD=/nowhere"}}
			if r := g.passes(t); r.out != "ASDF=asdf\nEMOJI=\U0001f600\nTEMP=\"foo;bar\"\n" {
				t.Error(r)
			}
			g.flags, g.args = []string{"-ehost"}, []string{"env"}
			if r := g.passes(t); r.out != "PATH=/nonexistent\nPWD=/nowhere\n" {
				t.Error(r)
			}
		},
	},
	{
		"memory_test", "with 2 CPUs and 128 to 2048 MiB exit code 0; 3072 and 4096 MiB end uhyve, with version 1",
		"3072 MiB fit below 3 GiB, too; what does not is an error that says so; from version 2 on all sizes fit",
		func(t *testing.T, kernel string) {
			for _, size := range []string{"128MiB", "256MiB", "512MiB", "1024MiB", "2048MiB", "3072MiB", "4096MiB"} {
				g := &guest{kernel: kernel, flags: []string{"-c2", "-m" + size}, args: []string{"memory_test"}}
				if kernel == "v1" && size == "4096MiB" {
					if r := g.run(t); r.code != 1 || !strings.Contains(r.errOut, "3 GiB") {
						t.Errorf("%s: %v", size, r)
					}
					continue
				}
				if r := g.passes(t); r.out != "Hello, world!\n" {
					t.Errorf("%s: %v", size, r)
				}
			}
		},
	},
	{
		"multicore_test", "2 CPUs are faster than one by a quarter, 3 by half, 4 by 100 %",
		"each CPU does its part, and the result is right: how much faster that is depends on what else the host does, so a benchmark tells, no test",
		func(t *testing.T, kernel string) {
			for _, cpus := range []string{"-c1", "-c2", "-c3", "-c4"} {
				(&guest{kernel: kernel, flags: []string{cpus}, args: []string{"multicore_test"}}).passes(t)
			}
		},
	},
	{
		"panic_test", "exit code -1", "",
		func(t *testing.T, kernel string) { panics(t, &guest{kernel: kernel, args: []string{"panic_test"}}) },
	},
	{
		"serial", "the output, or the file that it goes to, is what was written by bytes and buffers with calls of version 2", "",
		func(t *testing.T, kernel string) {
			const want = "Hello from serial!\nABCD\n1234ASDF!@#$\n"
			g := &guest{kernel: kernel, args: []string{"serial"}}
			if r := g.passes(t); r.out != want {
				t.Error(r)
			}
			file := t.TempDir() + "/output"
			g = &guest{kernel: kernel, flags: []string{"--output=" + file}, args: []string{"serial"}}
			g.passes(t)
			holds(t, file, want)
		},
	},
	{
		"gdb", "a debugger breaks, steps, sets a variable, writes a register and watches memory; the values are printed",
		"without breakpoints and watchpoints, for which emulated processors do not stop: the tests of package vmm/gdb have them",
		func(t *testing.T, kernel string) { debugged(t, kernel) },
	},
	{
		"network", "text that the host sends is seen in the guest, and the other way round",
		"over UDP instead of TCP, which this guest does not speak",
		func(t *testing.T, kernel string) { networked(t, kernel) },
	},
	{
		"run_images.sh", "each image ends with exit code 0 with all modes of isolation",
		"with an image of our own",
		func(t *testing.T, kernel string) { imaged(t, kernel) },
	},
}

// testUpstream runs them with a kernel of version 1, as uhyve's are, and one of version 3.
func testUpstream(t *testing.T) {
	for _, tt := range upstreamTests {
		for _, kernel := range []string{"v1", "v3"} {
			t.Run(tt.name+"/"+kernel, func(t *testing.T) { tt.run(t, kernel) })
		}
	}
}

// mapped is a guest with one mapping.
func mapped(kernel, mapping string, args ...string) *guest {
	return &guest{kernel: kernel, flags: []string{"--file-mapping=" + mapping}, args: args}
}

// panics runs a guest that ends as a panic of Hermit's does.
func panics(t *testing.T, g *guest) {
	t.Helper()
	if r := g.run(t); r.code != 255 || !strings.HasPrefix(r.out, "panic: ") {
		t.Errorf("%q: %v", g.args, r)
	}
}

// stats is what --stats=json tells.
type stats struct {
	Exits []struct {
		Kind   string
		Count  uint64
		Failed uint64
	}
}

func statsOf(t *testing.T, r result) (s stats) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.errOut), &s); err != nil {
		t.Errorf("statistics: %v: %v", err, r)
	}
	return s
}

// count is how many calls of a kind there were, in all versions.
func (s stats) count(kind string) (n uint64) {
	for _, e := range s.Exits {
		if strings.TrimSuffix(e.Kind, "V1") == kind {
			n += e.Count
		}
	}
	return n
}

// failed is how many of them ended with an error.
func (s stats) failed(kind string) (n uint64) {
	for _, e := range s.Exits {
		if strings.TrimSuffix(e.Kind, "V1") == kind {
			n += e.Failed
		}
	}
	return n
}

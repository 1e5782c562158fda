package runspec

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/internal/spec"
)

const wholeFile = `# All keys.
isthmus.seccomp = "log"

[uhyve]
kernel = "hello"
kernel_args = ["-freq", "3000", "--", "a", 'b "c"']
file_mapping = [
	"data:/root/data",
	"conf:/root/conf:ro", # é
]
hermit_image_mode = "Internal"
io_mode = "host=direct,sync"
tempdir = "tmp"
net = "tap:t0"
output = "none"
stats = true
gdb_port = 0x1a15
file_isolation = "strict"

[memory]
memory_size = "128MiB"
no_aslr = true
thp = true
ksm = true

[cpu]
cpu_count = 3
cpu_pm = true
pit = true
affinity = [0, 1, 1]

[guest]
env_vars = ["A=1", "B=2", "A=3"]
`

// fromTOML is what a file says, on top of what is usual.
func fromTOML(doc string) (*build, error) {
	b := &build{Machine: defaults(), at: map[string]spec.Pos{}}
	return b, errors.Join(b.readTOML([]byte(doc), "u.toml")...)
}

func TestWholeFile(t *testing.T) {
	b, err := fromTOML(wholeFile)
	if err != nil {
		t.Fatal(err)
	}
	want := Machine{
		Kernel: "hello", Memory: 128 << 20, THP: true, KSM: true, CPUs: 3, CPUPM: true, PIT: true,
		Affinity: []int{0, 1, 1}, GDBPort: new(uint16(6677)), Net: new("t0"), ImageMode: Internal, IO: spec.IO{Direct: true, Sync: true},
		TempDir: "tmp", Output: Output{Kind: ToNone}, Stats: StatsText, Isolation: Strict, Seccomp: "log", KVM: "/dev/kvm",
	}
	want.Mappings = b.Mappings
	if d := cmp.Diff(b.Machine, want); d != "" {
		t.Errorf("(-got +want):\n%s", d)
	}
	if d := cmp.Diff(b.args, []string{"-freq", "3000", "--", "a", `b "c"`}); d != "" {
		t.Errorf("arguments (-got +want):\n%s", d)
	}
	if d := cmp.Diff(b.env, []string{"A=1", "B=2", "A=3"}); d != "" {
		t.Errorf("environment (-got +want):\n%s", d)
	}
	if len(b.Mappings) != 2 || b.Mappings[0].Source != "data" || b.Mappings[1].Target != "/root/conf" || !b.Mappings[1].ReadOnly {
		t.Fatalf("mappings: %v", b.Mappings)
	}
	for _, test := range []struct{ got, want spec.Pos }{
		{b.Mappings[1].Pos, spec.Pos{Name: "u.toml", Line: 9, Column: 2}},
		{b.at["seccomp"], spec.Pos{Name: "u.toml", Line: 2, Column: 19}},
		{b.at["affinity"], spec.Pos{Name: "u.toml", Line: 30, Column: 12}},
		{b.at["no-aslr"], spec.Pos{Name: "u.toml", Line: 22, Column: 11}},
	} {
		if test.got != test.want {
			t.Errorf("it is said at %v, want %v", test.got, test.want)
		}
	}
}

// TestEveryKeyIsRead: the file above has them all, so no key is without a test.
func TestEveryKeyIsRead(t *testing.T) {
	b, err := fromTOML(wholeFile + "[isthmus]\nshare = []\n")
	if err == nil || !strings.Contains(err.Error(), "isthmus") {
		t.Errorf("a table that is there twice: %v", err)
	}
	if b, err = fromTOML(strings.Replace(wholeFile, "isthmus.seccomp", "isthmus.share = ['/x:/y:ro']\nisthmus.seccomp", 1)); err != nil {
		t.Fatal(err)
	}
	for i := range options {
		if _, said := b.at[options[i].Name()]; !said && options[i].Key != "" {
			t.Errorf("%s is not in the file", options[i].Key)
		}
	}
}

func TestOtherForms(t *testing.T) {
	for _, test := range []struct {
		doc   string
		check func(*build) bool
	}{
		{"memory = {memory_size = 33554432}", func(b *build) bool { return b.Memory == 32<<20 }},
		{"memory.memory_size = '16 mib'", func(b *build) bool { return b.Memory == 16<<20 }},
		{"'memory'.\"thp\" = true", func(b *build) bool { return b.THP }},
		{"[memory]\nno_aslr = false", func(b *build) bool { return b.ASLR }},
		{"[cpu]\naffinity = '0-1 3'", func(b *build) bool { return cmp.Equal(b.Affinity, []int{0, 1, 3}) }},
		{"[uhyve]\nstats = 'json'", func(b *build) bool { return b.Stats == StatsJSON }},
		{"[uhyve]\nstats = false", func(b *build) bool { return b.Stats == StatsOff }},
		{"[guest]\nenv_vars = []", func(b *build) bool { return len(b.env) == 0 }},
		{"[guest]\nenv_vars = ['host']", func(b *build) bool { return cmp.Equal(b.env, []string{"host"}) }},
		{"[uhyve]\n[cpu]\n", func(b *build) bool { return b.CPUs == 1 }},
		{"", func(b *build) bool { return cmp.Equal(b.Machine, defaults()) }},
	} {
		b, err := fromTOML(test.doc)
		if err != nil {
			t.Errorf("%s: %v", test.doc, err)
		} else if !test.check(b) {
			t.Errorf("%s: %+v", test.doc, b)
		}
	}
}

func TestMistakesInFile(t *testing.T) {
	for _, test := range []struct{ doc, err string }{
		{"[uhyve]\noutput = 3", `u.toml:2:10: output: found 3: want a string`},
		{"[uhyve]\n  outptu = 3", `u.toml:2:3: unknown key "outptu" in [uhyve]: want kernel, kernel_args, file_mapping,`},
		{"[uhyve]\ntrace_dir = 'x'", `u.toml:2:1: unknown key "trace_dir"`},
		{"[uhyve]\nconfig = 'x'", `u.toml:2:1: unknown key "config"`},
		{"[uhyve]\ncpu_count = 2", `u.toml:2:1: cpu_count is not in [uhyve]: want it in [cpu]`},
		{"cpu_count = 2", `u.toml:1:1: cpu_count is in no section: want it in [cpu]`},
		{"[vm]\nx = 1\ny = 2", `u.toml:1:2: unknown section "vm": want uhyve, memory, cpu, isthmus or guest`},
		{"x = 1", `u.toml:1:1: unknown section "x"`},
		{"'' = 1", `u.toml:1:1: unknown section ""`},
		{"[cpu]\n'' = 1", `u.toml:2:1: unknown key "" in [cpu]`},
		{"vm.x = 1", `u.toml:1:1: unknown section "vm"`},
		{"vm = {x = 1}", `u.toml:1:1: unknown section "vm"`},
		{"cpu = 1", `u.toml:1:1: cpu: want a table, [cpu]`},
		{"[[cpu]]", `u.toml:1:3: cpu is an array of tables: want [cpu], once`},
		{"[cpu.pit]", `u.toml:1:2: pit: found a table: want true or false`},
		{"[cpu.x]", `u.toml:1:2: unknown key "x" in [cpu]`},
		{"cpu.pit.x = 1", `u.toml:1:1: pit: found a table`},
		{"[cpu]\npit = {x = 1}", `u.toml:2:7: pit: found a table: want true or false`},
		{"[cpu]\npit = 'true'", `u.toml:2:7: pit: found the string "true": want true or false`},
		{"[cpu]\npit = 1", `u.toml:2:7: pit: found 1`},
		{"[cpu]\npit = [true]", `u.toml:2:7: pit: found an array`},
		{"[cpu]\npit = 1979-05-27", `u.toml:2:7: pit: found a date or a time`},
		{"[cpu]\ncpu_count = 0", `u.toml:2:13: cpu_count: "0": want a number from 1 to`},
		{"[cpu]\ncpu_count = -1", `u.toml:2:13: cpu_count: "-1": want a number from 1 to`},
		{"[cpu]\ncpu_count = 1.0", `u.toml:2:13: cpu_count: found 1.0: want a number`},
		{"[cpu]\ncpu_count = '1'", `u.toml:2:13: cpu_count: found the string "1": want a number`},
		{"[cpu]\naffinity = [0, -1]", `u.toml:2:12: affinity: "0,-1": "-1": want the number of a CPU`},
		{"[cpu]\naffinity = [0, '1']", `u.toml:2:16: affinity: found the string "1": want a string or an array of numbers`},
		{"[cpu]\naffinity = []", `u.toml:2:12: affinity: "": want CPUs of the host`},
		{"[memory]\nmemory_size = '3MiB'", `u.toml:2:15: memory_size: "3MiB" is 3145728 bytes: want at least 16MiB`},
		{"[memory]\nmemory_size = 17825792", `u.toml:2:15: memory_size: "17825792" is 17825792 bytes`},
		{"[uhyve]\ngdb_port = 65536", `u.toml:2:12: gdb_port: "65536": want a TCP port`},
		{"[uhyve]\nfile_mapping = 'a:b'", `u.toml:2:16: file_mapping: found the string "a:b": want an array of strings`},
		{"[uhyve]\nfile_mapping = ['a:b',\n  'a:b:rw']", `u.toml:3:3: file_mapping: "a:b:rw": the third part is "rw"`},
		{"[guest]\nenv_vars = ['é=1', 'x']", `u.toml:2:20: env_vars: "x": want KEY=VALUE`},
		{"[guest]\nenv_vars = [['x=1']]", `env_vars: found an array: want an array of strings`},
		{"[uhyve]\nkernel_args = [\"\\u0000\"]", `u.toml:2:16: kernel_args: "\x00": an argument cannot hold a NUL`},
		{"[uhyve]\nkernel = '~/x'", `u.toml:2:10: kernel: "~/x": ~ is not replaced`},
		{"[isthmus]\nshare = ['/a:/b:xx']", `u.toml:2:10: share: "/a:/b:xx": unknown option "xx"`},
		{"[uhyve]\nnet = tap", `u.toml:2:7: `},
		{"[uhyve]\nnet = 'tap'\nnet = 'tap'", `u.toml:3:1: `},
	} {
		_, err := fromTOML(test.doc)
		switch {
		case err == nil:
			t.Errorf("%q: no error, want %s", test.doc, test.err)
		case !strings.Contains(err.Error(), test.err):
			t.Errorf("%q:\n got %v\nwant %s", test.doc, err, test.err)
		case strings.Contains(err.Error(), "\n"):
			t.Errorf("%q: several errors for one mistake:\n%v", test.doc, err)
		}
	}
}

func TestAllMistakesAreTold(t *testing.T) {
	_, err := fromTOML("[cpu]\npit = 1\nx = 1\n[vm]\n[memory]\nthp = 1\n")
	want := []string{"u.toml:2:7: ", "u.toml:3:1: ", "u.toml:4:2: ", "u.toml:6:7: "}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%v", err)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("line %d is %q, want %s", i, lines[i], want[i])
		}
	}
}

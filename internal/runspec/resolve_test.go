package runspec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/internal/spec"
)

// resolve puts a machine together in an empty working directory, out of the words of a
// command line (FLAG=VALUE), variables and the text of uhyve.toml.
func resolve(t *testing.T, flags []string, env map[string]string, file string) (*Machine, []string, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if file != "" {
		write(t, "uhyve.toml", file)
	}
	return input(flags, env).Resolve()
}

func input(flags []string, env map[string]string) *Input {
	in := &Input{
		Arguments:   Arguments{Kernel: "app"},
		LookupEnv:   func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		AllowedCPUs: func() ([]int, error) { return []int{0, 1, 2, 5}, nil },
	}
	for _, f := range flags {
		name, value, _ := strings.Cut(f, "=")
		in.Flags = append(in.Flags, Said{name, value})
	}
	return in
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestDefaults(t *testing.T) {
	m, warnings, err := resolve(t, nil, nil, "")
	if err != nil || warnings != nil {
		t.Fatal(warnings, err)
	}
	want := &Machine{Kernel: "app", Memory: 64 << 20, CPUs: 1, ASLR: true, Isolation: Normal, Seccomp: "kill", KVM: "/dev/kvm"}
	if d := cmp.Diff(m, want); d != "" {
		t.Errorf("(-got +want):\n%s", d)
	}
}

// TestPrecedence: the command line, the environment, the file, what is usual.
func TestPrecedence(t *testing.T) {
	const file = "memory.memory_size = '32MiB'\ncpu.cpu_count = 2\nuhyve.gdb_port = 1\n"
	env := map[string]string{"HERMIT_MEMORY_SIZE": "48MiB", "HERMIT_CPU_COUNT": "3", "HERMIT_GDB_PORT": "2"}
	empty := map[string]string{"HERMIT_MEMORY_SIZE": "", "HERMIT_CPU_COUNT": "", "HERMIT_GDB_PORT": "", "HERMIT_CONFIG": ""}
	flags := []string{"memory-size=16MiB", "memory-size=80MiB", "cpu-count=4", "gdb-port=3"}
	for _, test := range []struct {
		name  string
		flags []string
		env   map[string]string
		file  string
		mib   uint64
		cpus  int
		port  uint16
	}{
		{"file", nil, nil, file, 32, 2, 1},
		{"file, empty variables", nil, empty, file, 32, 2, 1},
		{"variables", nil, env, "", 48, 3, 2},
		{"variables before the file", nil, env, file, 48, 3, 2},
		{"flags", flags, nil, "", 80, 4, 3},
		{"flags before all", flags, env, file, 80, 4, 3},
		{"flags before what is wrong in the environment", flags, map[string]string{"HERMIT_MEMORY_SIZE": "x"}, file, 80, 4, 3},
	} {
		m, _, err := resolve(t, test.flags, test.env, test.file)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if m.Memory != test.mib<<20 || m.CPUs != test.cpus || *m.GDBPort != test.port {
			t.Errorf("%s: %d MiB, %d CPUs, port %d", test.name, m.Memory>>20, m.CPUs, *m.GDBPort)
		}
	}
}

// TestWhatTheFileSaysCanBeTakenBack, so that one file does for several uses.
func TestWhatTheFileSaysCanBeTakenBack(t *testing.T) {
	const file = `
uhyve = {stats = true, net = "tap", gdb_port = 1, io_mode = "host=sync", output = "none", file_isolation = "strict", hermit_image_mode = "internal"}
memory = {no_aslr = true, thp = true, ksm = true}
cpu = {cpu_pm = true, pit = true, affinity = [0]}`
	m, _, err := resolve(t, []string{"stats=false", "net=none", "gdb-port=none", "io-mode=none", "output=-", "file-isolation=normal", "hermit-image-mode=external",
		"no-aslr=false", "thp=false", "ksm=false", "cpu-pm=false", "pit=false", "affinity=none"}, nil, file)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Kernel, want.Config = "app", "uhyve.toml"
	if d := cmp.Diff(m, &want); d != "" {
		t.Errorf("(-got +want):\n%s", d)
	}
}

// TestErrorsNameTheirOrigin, with the same checks for each.
func TestErrorsNameTheirOrigin(t *testing.T) {
	many := strings.Repeat("'x',", 1000)
	for _, test := range []struct {
		flags []string
		env   map[string]string
		file  string
		err   string
	}{
		{[]string{"memory-size=3MiB"}, nil, "", `--memory-size: "3MiB" is 3145728 bytes: want at least 16MiB, and a multiple of 2MiB`},
		{nil, map[string]string{"HERMIT_MEMORY_SIZE": "3MiB"}, "", `HERMIT_MEMORY_SIZE: "3MiB" is 3145728 bytes`},
		{nil, nil, "[memory]\nmemory_size = '3MiB'", `uhyve.toml:2:15: memory_size: "3MiB" is 3145728 bytes`},
		{[]string{"memory-size=32MiB"}, nil, "[memory]\nmemory_size = '3MiB'", `uhyve.toml:2:15: memory_size: `},
		{nil, map[string]string{"HERMIT_CPU_COUNT": "0"}, "", `HERMIT_CPU_COUNT: "0": want a number from 1`},
		{nil, map[string]string{"HERMIT_GDB_PORT": "x"}, "", `HERMIT_GDB_PORT: "x": want a TCP port`},
		{[]string{"net=user"}, nil, "", `--net: "user": want tap`},
		{[]string{"pit=yes"}, nil, "", `--pit: "yes": want true or false`},
		{[]string{"env-vars=A"}, nil, "", `--env-vars: "A": want KEY=VALUE`},
		{[]string{"file-mapping=a:b:c:d"}, nil, "", `--file-mapping: "a:b:c:d": it has more than three parts`},
		{[]string{"share=a:b"}, nil, "", `--share: "a:b": target "b": want an absolute path`},
		{[]string{"affinity=0-1"}, nil, "", `--affinity: it has 2 CPUs, and there are 1 vCPUs: want one for each`},
		{[]string{"affinity=0"}, nil, "cpu.cpu_count = 3", `--affinity: it has 1 CPUs, and there are 3 vCPUs (uhyve.toml:1:17): want`},
		{[]string{"cpu-count=2"}, nil, "cpu.affinity = [0]", `uhyve.toml:1:16: it has 1 CPUs, and there are 2 vCPUs (--cpu-count): want`},
		{[]string{"cpu-count=2", "affinity=0,3"}, nil, "", `--affinity: this process may not run on CPU 3: want some of 0-2,5`},
		{[]string{"file-mapping=a:x", "file-mapping=b:/x"}, nil, "", `--file-mapping "b:/x": target "/x" has a mount already, from --file-mapping "a:x"`},
		{[]string{"file-mapping=a:/x"}, nil, "isthmus.share = ['b:/x']", `uhyve.toml:1:18: target "/x" has a mount already, from --file-mapping "a:/x"`},
		{[]string{"config=gone.toml"}, nil, "", `--config: configuration file: open gone.toml: no such file`},
		{nil, map[string]string{"HERMIT_CONFIG": "gone.toml"}, "", `HERMIT_CONFIG: configuration file: open gone.toml: no such file`},
		{[]string{"config="}, nil, "", `--config: "": want a path`},
		{nil, nil, "guest.env_vars = [" + many + "]", `env_vars: "x"`},
	} {
		_, _, err := resolve(t, test.flags, test.env, test.file)
		if err == nil || !strings.HasPrefix(err.Error(), test.err) && !strings.Contains(err.Error(), ": "+test.err) {
			t.Errorf("%v %v %.40q:\n got %v\nwant %s", test.flags, test.env, test.file, err, test.err)
		} else if n := strings.Count(err.Error(), "\n"); n >= maxErrors {
			t.Errorf("%d lines of errors", n+1)
		}
	}
}

func TestMistakesOfSeveralOriginsAreToldAtOnce(t *testing.T) {
	_, _, err := resolve(t, []string{"net=x", "pit=x"}, map[string]string{"HERMIT_CPU_COUNT": "x"}, "memory.thp = 1")
	if err == nil {
		t.Fatal("no error")
	}
	for i, line := range strings.Split(err.Error(), "\n") {
		if want := []string{"uhyve.toml:1:14: ", "HERMIT_CPU_COUNT: ", "--net: ", "--pit: "}[i]; !strings.HasPrefix(line, want) {
			t.Errorf("line %d is %q, want %s", i, line, want)
		}
	}
}

func TestEnvironmentOfTheGuest(t *testing.T) {
	for _, test := range []struct {
		flags   []string
		file    string
		env     []string
		host    bool
		warning string
	}{
		{nil, "", nil, false, ""},
		{[]string{"env-vars=A=1", "env-vars=B=2", "env-vars=A=3"}, "", []string{"A=3", "B=2"}, false, ""},
		{[]string{"env-vars=A=1", "env-vars=C=3"}, "guest.env_vars = ['A=0', 'B=2']", []string{"A=1", "B=2", "C=3"}, false, ""},
		{[]string{"env-vars=host"}, "", nil, true, ""},
		{[]string{"env-vars=A=1", "env-vars=host", "env-vars=B=secret"}, "", nil, true, `without "A B"`},
		{[]string{"env-vars=A=1"}, "guest.env_vars = ['host']", nil, true, `without "A"`},
	} {
		m, warnings, err := resolve(t, test.flags, nil, test.file)
		if err != nil {
			t.Error(err)
			continue
		}
		if d := cmp.Diff(m.Env, test.env); d != "" || m.HostEnv != test.host {
			t.Errorf("%v %q: host %v, (-got +want):\n%s", test.flags, test.file, m.HostEnv, d)
		}
		text := strings.Join(warnings, "\n")
		if (text == "") != (test.warning == "") || !strings.Contains(text, test.warning) || strings.Contains(text, "secret") {
			t.Errorf("%v %q: warnings %q", test.flags, test.file, warnings)
		}
	}
}

func TestArgumentsOfSeveralOrigins(t *testing.T) {
	const file = "[uhyve]\nkernel = 'other'\nkernel_args = ['k', '--', 'a']\n"
	for _, test := range []struct {
		args Arguments
		file string
		want Arguments
	}{
		{Arguments{}, file, Arguments{"other", []string{"k"}, []string{"a"}, true}},
		{Arguments{Kernel: "app"}, file, Arguments{"app", []string{"k"}, []string{"a"}, true}},
		{Arguments{Kernel: "app", Given: true}, file, Arguments{"app", nil, nil, true}},
		{Arguments{"app", []string{"x"}, nil, true}, file, Arguments{"app", []string{"x"}, nil, true}},
		{Arguments{AppArgs: []string{"x"}, Given: true}, file, Arguments{"other", nil, []string{"x"}, true}},
		{Arguments{Kernel: "app"}, "[uhyve]\nkernel_args = []\n", Arguments{Kernel: "app"}},
	} {
		t.Chdir(t.TempDir())
		write(t, "uhyve.toml", test.file)
		in := input(nil, nil)
		in.Arguments = test.args
		m, _, err := in.Resolve()
		if err != nil {
			t.Error(err)
			continue
		}
		got := Arguments{m.Kernel, m.KernelArgs, m.AppArgs, m.KernelArgsGiven}
		if d := cmp.Diff(got, test.want); d != "" {
			t.Errorf("%+v (-got +want):\n%s", test.args, d)
		}
	}
}

func TestMissingKernel(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, test := range []struct {
		args Arguments
		want string
	}{
		{Arguments{}, "in [uhyve]"},
		{Arguments{AppArgs: []string{"app"}, Given: true}, "; what follows a single -- is for the application"},
		{Arguments{Kernel: "~/app"}, `kernel "~/app": ~ is not replaced here: write the home directory out, or ./~ for a file of that name`},
	} {
		in := input(nil, nil)
		in.Arguments = test.args
		if _, _, err := in.Resolve(); err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%+v: error %v, want %s", test.args, err, test.want)
		}
	}
}

func TestMountsOfAllOriginsAddUp(t *testing.T) {
	m, _, err := resolve(t, []string{"share=type=scratch,target=/tmp", "file-mapping=b:/m/b:ro"}, nil,
		"uhyve.file_mapping = ['a:m']\nisthmus.share = ['c:/c:ro']")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	mounts := m.Mounts()
	for i := range mounts {
		got = append(got, fmt.Sprint(mounts[i].Pos, " ", mounts[i].Target))
	}
	want := []string{
		"uhyve.toml:1:23 /m",
		`--file-mapping "b:/m/b:ro" /m/b`,
		"uhyve.toml:2:18 /c",
		`--share "type=scratch,target=/tmp" /tmp`,
	}
	if d := cmp.Diff(got, want); d != "" {
		t.Errorf("(-got +want):\n%s", d)
	}
}

// TestConfigurationFile: which one is read. Each says by its number of CPUs which it is.
func TestConfigurationFile(t *testing.T) {
	const wd, xdg, home, named, byEnv = "uhyve.toml", "xdg/uhyve/uhyve.toml", "home/.config/uhyve/uhyve.toml", "n.toml", "e.toml"
	cpus := map[string]int{wd: 2, xdg: 3, home: 4, named: 5, byEnv: 6, "": 1}
	for _, test := range []struct {
		name  string
		files []string
		flags []string
		env   map[string]string // XDG_CONFIG_HOME and HOME below the working directory
		want  string
	}{
		{"none", nil, nil, map[string]string{"XDG_CONFIG_HOME": "$/xdg", "HOME": "$/home"}, ""},
		{"no variables", []string{xdg, home}, nil, nil, ""},
		{"working directory first", []string{wd, xdg, home}, nil, map[string]string{"XDG_CONFIG_HOME": "$/xdg", "HOME": "$/home"}, wd},
		{"then XDG_CONFIG_HOME", []string{xdg, home}, nil, map[string]string{"XDG_CONFIG_HOME": "$/xdg", "HOME": "$/home"}, xdg},
		{"which is not beside the home directory", []string{home}, nil, map[string]string{"XDG_CONFIG_HOME": "$/xdg", "HOME": "$/home"}, ""},
		{"but has its default there", []string{xdg, home}, nil, map[string]string{"HOME": "$/home"}, home},
		{"also if it is empty", []string{home}, nil, map[string]string{"XDG_CONFIG_HOME": "", "HOME": "$/home"}, home},
		{"or relative", []string{xdg, home}, nil, map[string]string{"XDG_CONFIG_HOME": "xdg", "HOME": "$/home"}, home},
		{"a relative home is none", []string{home}, nil, map[string]string{"HOME": "home"}, ""},
		{"a directory that is a file", []string{"xdg"}, nil, map[string]string{"XDG_CONFIG_HOME": "$/xdg"}, ""},
		{"HERMIT_CONFIG", []string{wd, byEnv}, nil, map[string]string{"HERMIT_CONFIG": byEnv}, byEnv},
		{"--config", []string{wd, byEnv, named}, []string{"config=gone", "config=" + named}, map[string]string{"HERMIT_CONFIG": byEnv}, named},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			for _, f := range test.files {
				write(t, f, fmt.Sprintf("cpu.cpu_count = %d\n", cpus[f]))
			}
			for name, value := range test.env {
				test.env[name] = strings.ReplaceAll(value, "$", dir)
			}
			m, _, err := input(test.flags, test.env).Resolve()
			if err != nil {
				t.Fatal(err)
			}
			want := test.want
			if want == xdg || want == home {
				want = filepath.Join(dir, want)
			}
			if m.CPUs != cpus[test.want] || m.Config != want {
				t.Errorf("read %q, which has %d CPUs; want %q", m.Config, m.CPUs, want)
			}
		})
	}
}

func TestConfigurationFileThatCannotBeRead(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("uhyve.toml", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := input(nil, nil).Resolve(); err == nil || !strings.Contains(err.Error(), "configuration file: read uhyve.toml: is a directory") {
		t.Errorf("a directory: %v", err)
	}
	write(t, "long.toml", strings.Repeat("#", spec.MaxConfig+1))
	if _, _, err := input([]string{"config=long.toml"}, nil).Resolve(); err == nil || !strings.Contains(err.Error(), "long.toml: it is too long") {
		t.Errorf("a long one: %v", err)
	}
	if m, _, err := input([]string{"config=/dev/null"}, nil).Resolve(); err != nil || m.Config != "/dev/null" {
		t.Errorf("/dev/null: %v", err)
	}
}

func TestUnknownCPUsOfThisProcess(t *testing.T) {
	t.Chdir(t.TempDir())
	in := input([]string{"affinity=0"}, nil)
	gone := errors.New("gone")
	in.AllowedCPUs = func() ([]int, error) { return nil, gone }
	if _, _, err := in.Resolve(); !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
}

package hermit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodConfig = `version = "1"
kernel = "bin/../bin//app"

[input]
kernel_args = ["-freq", "3000"]
app_args = ["a b"]
env_vars = ["A=1", "host", "=x", "B="]

[requirements]
memory = "64MiB"
cpus = 2
`

func TestParseImageConfig(t *testing.T) {
	got, err := ParseImageConfig([]byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	want := &ImageConfig{
		Kernel: "/bin/app", KernelArgs: []string{"-freq", "3000"}, AppArgs: []string{"a b"}, Env: []string{"A=1", "B="},
		Memory: 64 << 20, CPUs: 2,
		Notes: []string{
			`hermit.toml of the image: "host" in env_vars is not of the form NAME=VALUE and is ignored`,
			`hermit.toml of the image: "=x" in env_vars is not of the form NAME=VALUE and is ignored`,
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	least := "version = '1'\nkernel = '/k'\ninput = {kernel_args = [], app_args = []}\n"
	got, err = ParseImageConfig([]byte(least))
	if err != nil || got.Kernel != "/k" || got.Memory != 0 || got.CPUs != 0 || got.Env != nil {
		t.Errorf("%+v, %v", got, err)
	}
	for text, want := range map[string]uint64{`"100MB"`: 100e6, "1234": 1234, `"1.5 gib"`: 3 << 29} {
		got, err := ParseImageConfig([]byte(least + "[requirements]\nmemory = " + text))
		if err != nil || got.Memory != want {
			t.Errorf("memory = %s: %+v, %v", text, got, err)
		}
	}
}

func TestParseImageConfigRefuses(t *testing.T) {
	for _, tt := range []struct{ old, new, want string }{
		{`version = "1"`, "", "version is missing"},
		{`version = "1"`, `version = "2"`, `version is "2"`},
		{`version = "1"`, `version = 1`, "line 1, column 11: version: cannot decode TOML integer"},
		{`kernel = "bin/../bin//app"`, "", "kernel is missing"},
		{`kernel = "bin/../bin//app"`, `kernel = ""`, "kernel is missing"},
		{"[input]", "[inputs]", "line 4, column 2: the key inputs is not known"},
		{"kernel_args", "kernel_arg", "the key input.kernel_arg is not known"},
		{`kernel_args = ["-freq", "3000"]`, "", "kernel_args is missing"},
		{`app_args = ["a b"]`, "", "app_args is missing"},
		{`app_args = ["a b"]`, "app_args = [1]", "line 6, column 13"},
		{"cpus = 2", "cpus = -1", "line 11, column 8: requirements.cpus: negative"},
		{"cpus = 2", "cpus = 4294967296", "line 11, column 8"},
		{"64MiB", "64 Mx", `line 10, column 10: requirements.memory: memory: "64 Mx" is not a size`},
		{`"64MiB"`, "true", `memory: "true" is not a size`},
		{"cpus = 2", "cpus = ", "line 11"},
		{"cpus = 2", "cpus = 2\ncpus = 3", "line 12"},
	} {
		text := strings.Replace(goodConfig, tt.old, tt.new, 1)
		_, err := ParseImageConfig([]byte(text))
		checkError(t, tt.new, err, "hermit.toml of the image: ")
		checkError(t, tt.new, err, tt.want)
	}
	_, err := ParseImageConfig([]byte("version = \"1\"\nkernel = \"k\"\n"))
	checkError(t, "input", err, "the table [input] is missing")
}

func TestImageConfigCheck(t *testing.T) {
	c := ImageConfig{Memory: 100e6, CPUs: 2}
	checkError(t, "memory", c.Check(64<<20, 2), "needs 100000000 bytes of memory, and the guest has 67108864: give it 96 MiB")
	checkError(t, "cpus", c.Check(96<<20, 1), "needs 2 processors, and the guest has 1: give it 2")
	if err := c.Check(100e6, 2); err != nil {
		t.Error(err)
	}
	c.Memory = 1<<64 - 1
	checkError(t, "all memory", c.Check(1, 2), "18446744073709551615 bytes")
}

func FuzzImageConfig(f *testing.F) {
	f.Add([]byte(goodConfig))
	f.Add([]byte("version = '1'\nkernel = '/k'\ninput = {kernel_args = [], app_args = []}\n"))
	f.Add([]byte("kernel = [[[["))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseImageConfig(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is not one line", err)
			}
			return
		}
		if !strings.HasPrefix(c.Kernel, "/") || strings.Contains(c.Kernel, "/../") {
			t.Errorf("the kernel is %q", c.Kernel)
		}
		for _, e := range c.Env {
			if strings.IndexByte(e, '=') < 1 {
				t.Errorf("the environment has %q", e)
			}
		}
	})
}

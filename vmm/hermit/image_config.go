package hermit

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// ConfigName is where the settings are in an image.
const ConfigName = "/hermit.toml"

// ImageConfig is the hermit.toml of an image.
type ImageConfig struct {
	// Kernel is the path of the kernel in the image, absolute and clean.
	Kernel string
	// KernelArgs, AppArgs and Env (NAME=VALUE) are for a guest whose owner has said
	// nothing else; see MergeEnv.
	KernelArgs, AppArgs, Env []string
	// Memory, in bytes, and CPUs are the least that the guest needs; 0 is anything.
	Memory uint64
	CPUs   uint32
	// Notes are lines for the owner: what was ignored.
	Notes []string
}

// imageTOML is hermit.toml as it is written. Pointers and nil slices tell what is not
// there.
type imageTOML struct {
	Version *string `toml:"version"`
	Kernel  *string `toml:"kernel"`
	Input   *struct {
		KernelArgs []string `toml:"kernel_args"`
		AppArgs    []string `toml:"app_args"`
		EnvVars    []string `toml:"env_vars"`
	} `toml:"input"`
	Requirements struct {
		Memory tomlSize `toml:"memory"`
		CPUs   uint32   `toml:"cpus"`
	} `toml:"requirements"`
}

// tomlSize is a size in TOML: text with a unit, or a number of bytes.
type tomlSize uint64

func (s *tomlSize) UnmarshalText(text []byte) error {
	v, err := ParseSize(string(text))
	if err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	*s = tomlSize(v)
	return nil
}

// ParseImageConfig reads a hermit.toml. Errors in its text have line and column.
func ParseImageConfig(text []byte) (*ImageConfig, error) {
	c, err := parseImageConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s of the image: %w", ConfigName[1:], err)
	}
	return c, nil
}

func parseImageConfig(text []byte) (*ImageConfig, error) {
	var t imageTOML
	d := toml.NewDecoder(strings.NewReader(string(text))).DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return nil, tomlError(err)
	}
	switch {
	case t.Version == nil:
		return nil, errors.New(`version is missing: it must be "1"`)
	case *t.Version != "1":
		return nil, fmt.Errorf(`version is %q, and only "1" is known`, *t.Version)
	case t.Kernel == nil || *t.Kernel == "":
		return nil, errors.New("kernel is missing: it must be the path of the kernel in the image")
	case t.Input == nil:
		return nil, errors.New("the table [input] is missing")
	case t.Input.KernelArgs == nil:
		return nil, errors.New("kernel_args is missing in [input]: it may be empty")
	case t.Input.AppArgs == nil:
		return nil, errors.New("app_args is missing in [input]: it may be empty")
	}
	c := &ImageConfig{
		Kernel:     path.Clean("/" + *t.Kernel),
		KernelArgs: t.Input.KernelArgs,
		AppArgs:    t.Input.AppArgs,
		Memory:     uint64(t.Requirements.Memory),
		CPUs:       t.Requirements.CPUs,
	}
	for _, e := range t.Input.EnvVars {
		if name, _, ok := strings.Cut(e, "="); ok && name != "" {
			c.Env = append(c.Env, e)
			continue
		}
		c.Notes = append(c.Notes, fmt.Sprintf("%s of the image: %q in env_vars is not of the form NAME=VALUE and is ignored", ConfigName[1:], e))
	}
	return c, nil
}

// tomlError puts a mistake in one line, with where it is.
func tomlError(err error) error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) && len(missing.Errors) > 0 {
		e := &missing.Errors[0]
		line, column := e.Position()
		return fmt.Errorf("line %d, column %d: the key %s is not known", line, column, strings.Join(e.Key(), "."))
	}
	text := strings.TrimPrefix(err.Error(), "toml: ")
	// The rest of such a text speaks of Go types.
	text, _, _ = strings.Cut(text, " into struct field ")
	var e *toml.DecodeError
	if errors.As(err, &e) {
		line, column := e.Position()
		if key := strings.Join(e.Key(), "."); key != "" {
			text = key + ": " + text
		}
		return fmt.Errorf("line %d, column %d: %s", line, column, text)
	}
	return errors.New(text)
}

// Check says whether a guest with so many bytes of memory and processors has what the
// image wants.
func (c *ImageConfig) Check(memory uint64, cpus int) error {
	if memory < c.Memory {
		return fmt.Errorf("the image needs %d bytes of memory, and the guest has %d: give it %s", c.Memory, memory, mib(alignUp(min(c.Memory, 1<<62), MemoryStep)))
	}
	if uint64(cpus) < uint64(c.CPUs) {
		return fmt.Errorf("the image needs %d processors, and the guest has %d: give it %d", c.CPUs, cpus, c.CPUs)
	}
	return nil
}

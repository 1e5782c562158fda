package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/isthmus-fs/isthmus/internal/runspec"
)

// runFlags are the flags of a machine. Their values are kept as they were said: what they
// mean is found out together with the environment and the configuration file.
type runFlags struct {
	said []runspec.Said
	log  logFlags
}

// bind adds a flag for each option of a machine that is no argument.
func (f *runFlags) bind(cmd *cobra.Command) {
	fl := cmd.Flags()
	for _, o := range runspec.Options() {
		if o.Flag == "" {
			continue
		}
		flag := fl.VarPF(&saidFlag{to: f, option: o}, o.Flag, o.Short, runUsage(&o))
		flag.NoOptDefVal, flag.Hidden = o.Bare, o.Hidden
		if isDefaultWord(&o) {
			flag.DefValue = o.Default
		}
		if words := runWords[o.Flag]; words != nil {
			cmd.RegisterFlagCompletionFunc(o.Flag, words)
		} else if o.Values != nil {
			cmd.RegisterFlagCompletionFunc(o.Flag, cobra.FixedCompletions(o.Values, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	cmd.MarkFlagDirname("tempdir")
	cmd.MarkFlagFilename("config", "toml")
	f.log.bind(fl)
	fl.Lookup("log-level").DefValue = "warn"
	f.log.level = "warn"
}

// runWords complete what is found on this host.
var runWords = map[string]cobra.CompletionFunc{
	"net": func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return append([]string{"tap"}, tapDevices("/sys/class/net")...), cobra.ShellCompDirectiveNoFileComp
	},
}

// tapDevices are the values of --net for the TAP devices that there are; sysfs is the
// directory with one for each network device.
func tapDevices(sysfs string) (values []string) {
	// Only devices of the tun driver have this attribute (drivers/net/tun.c).
	found, _ := filepath.Glob(filepath.Join(sysfs, "*", "tun_flags"))
	for _, path := range found {
		values = append(values, "tap:"+filepath.Base(filepath.Dir(path)))
	}
	return values
}

// runUsage is the help text of an option.
func runUsage(o *runspec.Option) string {
	var b strings.Builder
	b.WriteString(o.Help)
	if o.Repeat {
		b.WriteString("; may be repeated")
	}
	if o.Default != "" && !isDefaultWord(o) {
		b.WriteString(" (default: " + o.Default + ")")
	}
	if o.Env != "" {
		b.WriteString(" [$" + o.Env + "]")
	}
	return b.String()
}

// isDefaultWord tells a default that the flag could be set to from one that is described.
func isDefaultWord(o *runspec.Option) bool { return o.Default != "" && isWord(o.Default) && !o.Repeat }

// saidFlag is one option.
type saidFlag struct {
	to     *runFlags
	option runspec.Option
}

// Set implements [pflag.Value].
func (f *saidFlag) Set(v string) error {
	f.to.said = append(f.to.said, runspec.Said{Flag: f.option.Flag, Value: v})
	return nil
}

func (f *saidFlag) String() string { return "" }

// Type is what stands for the value in the usage.
func (f *saidFlag) Type() string {
	if f.option.Arg == "" {
		return "bool"
	}
	return f.option.Arg
}

// gdbPort is the flag whose value may be left out, and need not have an = if it is not.
const gdbPort = "gdb-port"

// runArguments prepares the arguments of a program that runs machines; those of others
// are as they were.
func runArguments(root *cobra.Command, args []string) []string {
	if root.Flags().Lookup(gdbPort) != nil {
		return joinValues(root.Flags(), args)
	}
	if len(args) == 0 {
		return args
	}
	cmd, _, err := root.Find(args[:1])
	if err != nil || cmd.Flags().Lookup(gdbPort) == nil {
		return args
	}
	return append([]string{args[0]}, joinValues(cmd.Flags(), args[1:])...)
}

// joinValues puts an = before values of --gdb-port, as pflag takes no others for a flag that
// can do without: -s 6678 and -s6678 become -s=6678. As a kernel may follow -s too, only a
// number is taken for the port.
func joinValues(fl *pflag.FlagSet, args []string) []string {
	joined := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(joined, args[i:]...)
		}
		flag, rest := flagOf(fl, arg)
		switch {
		case flag == nil:
		case flag.NoOptDefVal == "":
			// The next argument is the value, even if it looks like a flag.
			if rest == "" && i+1 < len(args) {
				joined = append(joined, arg)
				i++
				arg = args[i]
			}
		case flag.Name == gdbPort && isNumber(rest):
			arg = strings.TrimSuffix(arg, rest) + "=" + rest
		case flag.Name == gdbPort && rest == "" && i+1 < len(args) && isNumber(args[i+1]):
			i++
			arg += "=" + args[i]
		}
		joined = append(joined, arg)
	}
	return joined
}

// flagOf is the flag that may take what follows an argument, and what follows its name in
// the argument itself: of letters in one argument, the first that needs a value or has one, or
// the last.
func flagOf(fl *pflag.FlagSet, arg string) (flag *pflag.Flag, rest string) {
	if name, long := strings.CutPrefix(arg, "--"); long {
		name, _, _ = strings.Cut(name, "=")
		return fl.Lookup(name), arg[len("--")+len(name):]
	}
	letters, short := strings.CutPrefix(arg, "-")
	if !short || letters == "" {
		return nil, ""
	}
	for i := range letters {
		rest = letters[i+1:]
		if letters[i] >= 0x80 {
			return nil, ""
		}
		flag = fl.ShorthandLookup(letters[i : i+1])
		if flag == nil || flag.NoOptDefVal == "" || flag.Name == gdbPort && isNumber(rest) {
			break
		}
	}
	return flag, rest
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

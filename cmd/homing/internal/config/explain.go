package config

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// optionName matches what may be an option in an error: --front-listen as kong
// writes it, or front.listen as the packages do that know no flags; a list's entry has its number in brackets.
var optionName = regexp.MustCompile(`(^|[\s(])(--[a-z0-9-]+|[a-z][a-z0-9]*\.[a-z0-9][a-z0-9-]*)((?:\[\d+\])?[:,;)]*)(\s|$)`)

// Explain returns the text of err for whoever configured the command of ctx:
// options go by the names of their flags, and each line ends with where their
// values came from, when that is the environment or file, which may be nil.
func Explain(err error, ctx *kong.Context, file *Document) string {
	flags := flagsOf(ctx)
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		lines[i] = explainLine(line, flags, ctx, file)
	}
	return strings.Join(lines, "\n")
}

func explainLine(line string, flags map[string]*kong.Flag, ctx *kong.Context, file *Document) string {
	var from []string
	out := optionName.ReplaceAllStringFunc(line, func(match string) string {
		parts := optionName.FindStringSubmatch(match)
		f := flagFor(parts[2], flags)
		if f == nil {
			return match
		}
		if o := origin(f, ctx, file); o != "" && !strings.Contains(line, o) {
			from = append(from, fmt.Sprintf("--%s is from %s", f.Name, o))
		}
		return parts[1] + "--" + f.Name + parts[3] + parts[4]
	})
	if len(from) > 0 {
		out += " (" + strings.Join(from, ", ") + ")"
	}
	return out
}

// flagsOf are the flags of the command that ctx selected, by name.
func flagsOf(ctx *kong.Context) map[string]*kong.Flag {
	out := map[string]*kong.Flag{}
	if ctx == nil {
		return out
	}
	for _, p := range ctx.Path {
		for _, f := range p.Flags {
			out[f.Name] = f
		}
	}
	return out
}

// flagFor returns the flag that an error calls name, or nil: front.listen is
// --front-listen, and front.workers is --workers.
func flagFor(name string, flags map[string]*kong.Flag) *kong.Flag {
	if flag, ok := strings.CutPrefix(name, "--"); ok {
		return flags[flag]
	}
	part, option, _ := strings.Cut(name, ".")
	if f := flags[part+"-"+option]; f != nil {
		return f
	}
	return flags[option]
}

// origin says where f's value came from: a variable or a line of the file. It
// is "" for the command line and the default.
func origin(f *kong.Flag, ctx *kong.Context, file *Document) string {
	for _, p := range ctx.Path {
		if p.Flag == f && !p.Resolved {
			return ""
		}
	}
	if name, ok := envOf(f); ok {
		return name
	}
	if file == nil {
		return ""
	}
	if line, ok := file.used[f.Name]; ok {
		return fmt.Sprintf("%s:%d", file.name, line)
	}
	return ""
}

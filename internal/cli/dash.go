package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// twoDashes gives long flags that were written with one dash their second, so that
// tuma takes them as the other programs do. What is the value of a flag before it,
// or comes after --, stays as it is.
func twoDashes(root *cobra.Command, args []string) []string {
	out := append([]string{}, args...)
	for i := 0; i < len(out) && out[i] != "--"; i++ {
		rest, dashed := strings.CutPrefix(out[i], "-")
		if !dashed {
			continue
		}
		rest = strings.TrimPrefix(rest, "-")
		name, _, inline := strings.Cut(rest, "=")
		known, value := longFlag(root, name)
		if !known {
			continue
		}
		out[i] = "--" + rest
		if value && !inline {
			i++
		}
	}
	return out
}

// longFlag says whether a command, or one below it, has a long flag of a name, and
// whether that takes a value.
func longFlag(c *cobra.Command, name string) (known, takesValue bool) {
	if name == "help" || name == "version" { // added late
		return true, false
	}
	if f := c.Flags().Lookup(name); f != nil {
		return true, f.NoOptDefVal == ""
	}
	if f := c.PersistentFlags().Lookup(name); f != nil {
		return true, f.NoOptDefVal == ""
	}
	for _, sub := range c.Commands() {
		if known, takesValue = longFlag(sub, name); known {
			return known, takesValue
		}
	}
	return false, false
}

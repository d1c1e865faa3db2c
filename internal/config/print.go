package config

import (
	"io"
	"maps"
	"slices"

	"github.com/goccy/go-yaml"
)

// WriteEffective writes the config as YAML, defaults filled in, references as
// written and secrets hidden.
func (c *Config) WriteEffective(w io.Writer) error {
	return yaml.NewEncoder(w, yaml.Indent(2), yaml.IndentSequence(true), yaml.UseLiteralStyleIfMultiline(true)).Encode(c)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

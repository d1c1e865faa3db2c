package optout

import "github.com/tuma-sms/tuma/internal/bus"

// Apply and Hash are for tests.
func (l *List) Apply(m *bus.Msg) { l.apply(m) }

func Hash(number string) string { return hash(number) }

package permission

import (
	"strings"
)

// Conf writes the set in nats-server's configuration language: the permissions
// block of a user.
func (s Set) Conf() string {
	var b strings.Builder
	b.WriteString("permissions: {\n")
	block(&b, "publish", s.Publish)
	block(&b, "subscribe", s.Subscribe)
	b.WriteString("}\n")
	return b.String()
}

func block(b *strings.Builder, what string, subjects []string) {
	b.WriteString("  " + what + ": { allow: [\n")
	for _, s := range subjects {
		b.WriteString(`    "` + s + "\"\n")
	}
	b.WriteString("  ] }\n")
}

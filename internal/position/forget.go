package position

import (
	"context"
	"fmt"
)

// Forget removes the position of a durable that nobody needs any more: one that
// is made with that name later begins as it is declared.
func (b *Bucket) Forget(ctx context.Context, durable string) error {
	if err := b.kv.Purge(ctx, durable); err != nil {
		return fmt.Errorf("forget position of %s: %w", durable, err)
	}
	return nil
}

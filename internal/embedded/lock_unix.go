//go:build unix && !solaris && !aix

package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// storeLock keeps a second server out of a store directory: nats-server itself
// does not look, and two of them on one store destroy it.
type storeLock struct{ file *os.File }

// lockStore takes the lock without waiting. The kernel drops it when the
// process ends in whatever way, so a SIGKILL leaves no stale lock.
func lockStore(dir string) (*storeLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, ".agner.lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the caller chooses where the store is
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		cerr := f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrStoreBusy
		}
		return nil, errors.Join(err, cerr)
	}
	return &storeLock{file: f}, nil
}

func (l *storeLock) release() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

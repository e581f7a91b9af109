package consume_test

import "runtime"

// goexit is what t.FailNow does inside a handler under test.
func goexit() { runtime.Goexit() }

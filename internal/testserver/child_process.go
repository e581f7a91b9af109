package testserver

// RunChildIfAsked turns this process into a server if it was started by
// [StartChild], and then never returns; else it does nothing. [Main] calls it.
func RunChildIfAsked() {}

// Command bench measures Agner beside hand-written nats.go, its calls beside
// nats.go/micro too, and pkg/envelope beside the CNCF SDK, in one run on one
// machine.
//
//	go run . [-rounds n] [-scale d] [-works w,w] [-contenders c,c] [-base c] [-json] [-cpuprofile file] [-memprofile file]
//
// What makes its ratios mean something:
//
//   - The server is a process of its own: the program runs itself again. File
//     storage, loopback, the server's default sync interval.
//   - In each round every contender does the same work, one after the other, and
//     each round starts with another one. A ratio compares two samples of the
//     same round; a row gives the median, least and greatest over the rounds.
//   - raw is measured a second time as raw-again: its range is the noise. Where
//     its median is off 1.00 by more than 0.05 the run says nothing about that
//     work and says so.
//   - Before each sample: streams made anew, a warm-up, a garbage collection and
//     50 ms of rest. Every sample is verified, or the run fails: the stream
//     holds exactly what was published, each id is seen once, the clock of a
//     consumer stops only when the server has every ack, each reply carries what
//     was asked.
//   - raw puts on the wire what Agner puts there: the same subjects, attributes
//     and message ids. The ratio is the price of the framework, not of its wire.
//
// A contender is one type in one file with a method for each work; it embeds
// skips for the works that it leaves out.
package main

// One group of clients on gws. A client that says something is in the group, and is told so.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/lxzan/gws"
)

// A request of the benchmark is a letter and a number of four bytes.
const requestBytes = 5

type group struct {
	gws.BuiltinEventHandler
	mutex   sync.Mutex
	members []*gws.Conn
}

func (g *group) OnMessage(client *gws.Conn, message *gws.Message) {
	defer message.Close()
	g.mutex.Lock()
	g.members = append(g.members, client)
	g.mutex.Unlock()
	if err := client.WriteString("joined"); err != nil {
		log.Print(err)
	}
}

func (g *group) OnClose(client *gws.Conn, _ error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if place := slices.Index(g.members, client); place >= 0 {
		g.members = slices.Delete(g.members, place, place+1)
	}
}

// The library's broadcaster prepares the frame once and hands each write to a goroutine. A bare loop of writes costs as much
// for one message and half as much again for each of sixteen.
func (g *group) publish(text []byte) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	broadcaster := gws.NewBroadcaster(gws.OpcodeText, text)
	for _, client := range g.members {
		// Fails only for a client that has gone.
		_ = broadcaster.Broadcast(client)
	}
	_ = broadcaster.Close()
}

func (g *group) size() int {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return len(g.members)
}

func obey(control net.Conn, everybody *group, text []byte) error {
	var request [requestBytes]byte
	for {
		if _, err := io.ReadFull(control, request[:]); err != nil {
			// The benchmark is over.
			return nil
		}
		switch request[0] {
		case 'P':
			for range binary.LittleEndian.Uint32(request[1:]) {
				everybody.publish(text)
			}
		case 'J':
			var answer [16]byte
			binary.LittleEndian.PutUint64(answer[:], uint64(everybody.size()))
			if _, err := control.Write(answer[:]); err != nil {
				return err
			}
		default:
			return fmt.Errorf("an unknown request: %q", request[0])
		}
	}
}

func run() error {
	textBytes, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	// The clients count the one '#' of a message, so there is none elsewhere in a frame.
	text := []byte("#" + strings.Repeat("x", textBytes-1))
	clients, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	everybody := &group{}
	server := gws.NewServer(everybody, &gws.ServerOption{})
	go func() { log.Fatal(server.RunListener(clients)) }()
	fmt.Println(clients.Addr(), control.Addr())
	connection, err := control.Accept()
	if err != nil {
		return err
	}
	return obey(connection, everybody, text)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

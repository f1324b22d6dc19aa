// Follows a pattern and a channel with the public Go SDK until it has seen the publication whose number is LAST on both.
//
//	follow ws://HOST:PORT/connection/websocket PATTERN CHANNEL LAST
//
// Prints one line of JSON for every event of the SDK that the test looks at.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

var printing sync.Mutex

func say(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(text))
}

func main() {
	url, names := os.Args[1], os.Args[2:4]
	last, err := strconv.Atoi(os.Args[4])
	if err != nil {
		panic(err)
	}
	client := centrifuge.NewJsonClient(url, centrifuge.Config{
		MinReconnectDelay: 20 * time.Millisecond,
		MaxReconnectDelay: 100 * time.Millisecond,
	})
	var done sync.WaitGroup
	for _, name := range names {
		done.Add(1)
		subscription, err := client.NewSubscription(name)
		if err != nil {
			panic(err)
		}
		follow(subscription, name, last, done.Done)
	}
	if err := client.Connect(); err != nil {
		panic(err)
	}
	done.Wait()
	client.Close()
}

func follow(subscription *centrifuge.Subscription, name string, last int, done func()) {
	subscription.OnSubscribed(func(event centrifuge.SubscribedEvent) {
		say(map[string]any{"at": "subscribed", "name": name, "wasRecovering": event.WasRecovering, "recovered": event.Recovered})
	})
	subscription.OnUnsubscribed(func(event centrifuge.UnsubscribedEvent) {
		// The end of the program unsubscribes as well, with the code of a closed client.
		if event.Code != 2 {
			say(map[string]any{"at": "unsubscribed", "name": name, "code": event.Code})
		}
	})
	subscription.OnError(func(event centrifuge.SubscriptionErrorEvent) {
		say(map[string]any{"at": "error", "name": name, "error": event.Error.Error()})
	})
	subscription.OnPublication(func(event centrifuge.PublicationEvent) {
		var data struct {
			Key    string `json:"source_id"`
			Number int    `json:"data"`
		}
		if err := json.Unmarshal(event.Data, &data); err != nil {
			panic(err)
		}
		say(map[string]any{"at": "publication", "name": name, "number": data.Number, "key": data.Key, "offset": event.Offset})
		if data.Number == last {
			done()
		}
	})
	if err := subscription.Subscribe(); err != nil {
		panic(err)
	}
}

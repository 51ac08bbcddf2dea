using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace Homing.Tests
{
    /// <summary>A client against a server by hand.</summary>
    static class ClientTests
    {
        static readonly TimeSpan patience = TimeSpan.FromSeconds(30);

        internal static void Register()
        {
            Program.Add("client: all is heard from Poll, on its thread", OnePollingThread);
            Program.Add("client: a handler that takes its time holds up what follows, and reading", SlowHandler);
            Program.Add("client: a handler may wait for what it publishes", PublishInHandler);
            Program.Add("client: Dispose ends all at once", Disposed);
            Program.Add("client: RunAsync hears on the caller's context, and leaves when cancelled", OnContext);
            Program.Add("client: a token function that fails, or hangs", Tokens);
            Program.Add("client: a token never stands in an ending", TokenIsSecret);
            Program.Add("client: problems that nobody listens to are thrown by Poll", Problems);
            Program.Add("client: publishing is bounded, in time and number", PublishBounds);
            Program.Add("client: another user has another place", OtherUser);
            Program.Add("client: a server of another protocol", OtherProtocol);
            Program.Add("client: Stop within a handler", StopInHandler);
            Program.Add("client: nobody listens there", NobodyThere);
            Program.Add("client: what filled the queue does not hold up the rest", Flood);
            Program.Add("client: a problem that nobody listens to ends RunAsync", RunFails);
            Program.Add("client: frames of the room before are not those of the next", RoomAfterRoom);
            Program.Add("client: a refusal says how long to wait", Refused);
            Program.Add("client: friends of a new connection replace those of the last", FriendsReplaced);
        }

        sealed class Game : IDisposable
        {
            internal readonly Server Server = new Server();
            internal readonly HomingClient Client;
            internal readonly HomingOptions Options;
            internal readonly List<string> Heard = new List<string>();
            internal Peer Peer;

            internal Game(Action<HomingOptions> change = null)
            {
                Options = new HomingOptions { Url = Server.Url, Token = _ => Task.FromResult("secret-token") };
                if (change != null) change(Options);
                Client = new HomingClient(Options);
                Client.StateChanged += c => Heard.Add(c.State.ToString());
                Client.OnNotification = n => { Heard.Add(n.Id); return null; };
            }

            internal void Until(Func<bool> holds, string what)
            {
                var end = DateTime.UtcNow + patience;
                while (!holds())
                {
                    if (DateTime.UtcNow > end) throw new TestException("in vain: " + what + "; heard " + string.Join(" ", Heard));
                    Client.Poll();
                    Client.Signal().Wait(5);
                }
            }

            internal void Up(string user = "ann", bool resume = false)
            {
                Client.Start();
                Connect(user, resume);
            }

            internal void Connect(string user = "ann", bool resume = false)
            {
                Until(() => (Peer = Server.Next()) != null, "a connection");
                Until(() => Peer.Head != null, "a request");
                Peer.Accept();
                Peer.Send("{\"t\":\"hello\",\"user\":\"" + user + "\",\"conn\":\"c\",\"ping\":25000" + (resume ? ",\"resume\":true}" : "}"));
                Until(() => Client.State == (resume ? ClientState.Recovering : ClientState.Open), "open");
            }

            internal void Note(int n, string more = "") { Peer.Send("{\"t\":\"notify\",\"id\":\"n" + n + "\",\"data\":" + n + more + "}"); }

            internal JsonValue Read(string kind)
            {
                string text = null;
                Until(() => (text = Peer.Next()) != null, kind);
                var m = JsonValue.Parse(text);
                Want.Equal(kind, m["t"].AsString(), "the client's message");
                return m;
            }

            public void Dispose()
            {
                Client.Dispose();
                Server.Dispose();
            }
        }

        static void OnePollingThread()
        {
            using (var g = new Game())
            {
                int mine = Thread.CurrentThread.ManagedThreadId;
                var others = new List<int>();
                Action note = () => { if (Thread.CurrentThread.ManagedThreadId != mine) others.Add(1); };
                g.Options.Token = _ => { note(); return Task.Delay(20).ContinueWith(x => "t"); };
                g.Client.StateChanged += c => note();
                g.Client.OnNotification = n => { note(); g.Heard.Add(n.Id); return Task.Delay(20); };
                g.Up();
                for (int i = 0; i < 5; i++) g.Note(i);
                Thread.Sleep(200); // all has come, and nobody polls
                Want.True(!g.Heard.Contains("n0"), "nothing is heard without Poll");
                g.Until(() => g.Heard.Contains("n4"), "the last");
                var published = g.Client.Publish("t", "1").ContinueWith(_ => note(), TaskContinuationOptions.ExecuteSynchronously);
                var m = g.Read("publish");
                g.Peer.Send("{\"t\":\"published\",\"id\":\"p\",\"ref\":" + m["ref"].Text + "}");
                g.Until(() => published.IsCompleted, "published");
                Want.Equal(0, others.Count, "what other threads were told");
            }
        }

        static void SlowHandler()
        {
            const int count = 3000;
            using (var g = new Game(o => o.QueueMessages = 100))
            {
                var first = new TaskCompletionSource<bool>();
                g.Client.OnNotification = n => { g.Heard.Add(n.Id); return first.Task; };
                g.Up();
                var sending = Task.Run(() => { for (int i = 0; i < count; i++) g.Note(i, ",\"from\":\"" + new string('x', 5000) + "\""); });
                var end = DateTime.UtcNow + TimeSpan.FromSeconds(1);
                g.Until(() => DateTime.UtcNow > end, "a second");
                Want.True(!sending.IsCompleted, "the server's words wait at the server");
                Want.Equal("n0", g.Heard[g.Heard.Count - 1], "the last that was given");
                first.SetResult(true);
                g.Until(() => g.Heard.Count > count && g.Heard[g.Heard.Count - 1] == "n" + (count - 1), "the last");
                int next = 0;
                foreach (string id in g.Heard)
                    if (id[0] == 'n') Want.Equal("n" + next++, id, "the order");
            }
        }

        static void PublishInHandler()
        {
            using (var g = new Game())
            {
                g.Client.OnNotification = async n => { g.Heard.Add(await g.Client.Publish("t", n.Data.Text)); };
                g.Up();
                g.Note(7);
                var m = g.Read("publish");
                Want.Equal(7L, m["data"].AsLong(), "the data");
                g.Peer.Send("{\"t\":\"published\",\"id\":\"p7\",\"ref\":" + m["ref"].Text + "}");
                g.Until(() => g.Heard.Contains("p7"), "published");
            }
        }

        static void Disposed()
        {
            using (var g = new Game())
            {
                g.Up();
                var lost = g.Client.Publish("t", "1");
                g.Client.Dispose();
                Want.Equal(ClientState.Closed, g.Client.State, "the state");
                Want.Equal(EndKind.Left, g.Client.Why.Kind, "why");
                Want.True(lost.IsFaulted, "what was not answered fails");
                var end = DateTime.UtcNow + patience;
                while (!g.Peer.Ended && DateTime.UtcNow < end) Thread.Sleep(5);
                Want.True(g.Peer.Ended, "the connection ends without another Poll");
            }
        }

        /// <summary>A context that runs what is posted on one thread, as Unity's does.</summary>
        sealed class Loop : SynchronizationContext
        {
            readonly Queue<Action> posted = new Queue<Action>();

            public override void Post(SendOrPostCallback what, object state)
            {
                lock (posted)
                {
                    posted.Enqueue(() => what(state));
                    Monitor.Pulse(posted);
                }
            }

            internal void RunUntil(Task task)
            {
                task.ContinueWith(_ => Post(x => { }, null));
                while (!task.IsCompleted)
                {
                    Action next;
                    lock (posted)
                    {
                        while (posted.Count == 0) Monitor.Wait(posted);
                        next = posted.Dequeue();
                    }
                    next();
                }
            }
        }

        static void OnContext()
        {
            var before = SynchronizationContext.Current;
            var loop = new Loop();
            SynchronizationContext.SetSynchronizationContext(loop);
            try
            {
                using (var g = new Game())
                using (var cancel = new CancellationTokenSource())
                {
                    int mine = Thread.CurrentThread.ManagedThreadId, others = 0;
                    g.Client.OnNotification = n =>
                    {
                        if (Thread.CurrentThread.ManagedThreadId != mine) others++;
                        g.Heard.Add(n.Id);
                        if (n.Id == "n3") Task.Run(() => cancel.Cancel());
                        return null;
                    };
                    Task.Run(() =>
                    {
                        Peer p;
                        while ((p = g.Server.Next()) == null || p.Head == null && !SpinWait.SpinUntil(() => p.Head != null, 5000)) Thread.Sleep(5);
                        g.Peer = p;
                        p.Accept();
                        p.Send("{\"t\":\"hello\",\"user\":\"ann\",\"ping\":25000}");
                        for (int i = 0; i < 4; i++) g.Note(i);
                    });
                    var run = g.Client.RunAsync(cancel.Token);
                    loop.RunUntil(run);
                    Want.Equal(EndKind.Left, run.Result.Kind, "why it ended");
                    Want.True(g.Heard.Contains("n3"), "the last");
                    Want.Equal(0, others, "what other threads were told");
                    Want.Equal(ClientState.Closed, g.Client.State, "the state");
                }
            }
            finally { SynchronizationContext.SetSynchronizationContext(before); }
        }

        static void Tokens()
        {
            int calls = 0;
            using (var g = new Game(o =>
            {
                o.HandshakeTimeout = TimeSpan.FromMilliseconds(300);
                o.Token = cancel =>
                {
                    calls++;
                    if (calls == 1) throw new InvalidOperationException("no");
                    if (calls == 2) return Task.Delay(-1, cancel).ContinueWith(_ => "late"); // for ever
                    if (calls == 3) return Task.FromResult("not a token");
                    return Task.FromResult("t");
                };
            }))
            {
                var whys = new List<EndKind>();
                g.Client.StateChanged += c => { if (c.State == ClientState.Waiting) whys.Add(c.Why.Kind); };
                g.Up();
                Want.Equal("Token Lost TokenFormat", string.Join(" ", whys), "why it waited");
            }
        }

        static void TokenIsSecret()
        {
            using (var g = new Game(o => o.TokenTries = 1))
            {
                Ending why = null;
                g.Client.StateChanged += c => why = c.Why ?? why;
                g.Client.Start();
                g.Until(() => (g.Peer = g.Server.Next()) != null, "a connection");
                g.Until(() => g.Peer.Head != null, "a request");
                Want.True(g.Peer.Head.Contains("Sec-WebSocket-Protocol: homing.v1, bearer.secret-token\r\n"), "the token is shown");
                g.Peer.Answer("HTTP/1.1 401 secret-token\r\nContent-Type: application/problem+json\r\nContent-Length: 24\r\n\r\n{\"code\":\"secret-token\"} ");
                g.Until(() => g.Client.State == ClientState.Closed, "closed");
                Want.True(why.TokensSpent && why.Code == 401, "why");
                Want.True(!(why + why.Reason + why.Problem).Contains("secret"), "no token in " + why);
            }
        }

        static void Problems()
        {
            using (var g = new Game())
            {
                g.Client.OnNotification = n => { throw new InvalidOperationException("the game's"); };
                g.Up();
                g.Note(1);
                Want.Throws<HandlerException>(() => g.Until(() => false, "the exception"), "Poll");
                Exception heard = null;
                g.Client.Problem += e => heard = e;
                g.Note(2);
                g.Until(() => heard != null, "the problem");
                Want.Equal("the game's", heard.Message, "the problem");
                Want.Equal(ClientState.Open, g.Client.State, "the state");
            }
        }

        static void PublishBounds()
        {
            using (var g = new Game(o => { o.PendingLimit = 3; o.PublishTimeout = TimeSpan.FromMilliseconds(500); }))
            {
                g.Up();
                var all = new List<Task<string>>();
                for (int i = 0; i < 4; i++) all.Add(g.Client.Publish("t", "1"));
                using (var cancel = new CancellationTokenSource())
                {
                    g.Until(() => all[3].IsCompleted, "the fourth");
                    Want.Equal("full", ((RequestException)all[3].Exception.GetBaseException()).Code, "the fourth");
                    g.Until(() => all[0].IsCompleted && all[2].IsCompleted, "the others");
                    Want.Equal("timeout", ((RequestException)all[0].Exception.GetBaseException()).Code, "the first");
                    var given = g.Client.Publish("t", "1", null, cancel.Token);
                    cancel.Cancel();
                    g.Until(() => given.IsCompleted, "the one that was given up");
                    Want.True(given.IsCanceled, "it is cancelled");
                }
                Want.Throws<JsonException>(() => g.Client.Publish("t", "{"), "no JSON");
            }
        }

        static void OtherUser()
        {
            var store = new MemoryStore();
            store.Save("bob place", "b7");
            using (var g = new Game(o => o.Store = store))
            {
                g.Up("ann", true);
                Want.Equal("", g.Read("resume")["after"].AsString(), "ann's place");
                g.Peer.Send("{\"t\":\"resumed\",\"recovered\":true,\"count\":0,\"last\":\"a1\"}");
                g.Until(() => g.Client.State == ClientState.Open, "open");
                Want.Equal("a1", store.Load("ann place"), "ann's place");
                g.Peer.Close();
                g.Connect("bob", true);
                Want.Equal("b7", g.Read("resume")["after"].AsString(), "bob's place");
            }
        }

        static void OtherProtocol()
        {
            using (var g = new Game())
            {
                g.Client.Start();
                g.Until(() => (g.Peer = g.Server.Next()) != null, "a connection");
                g.Until(() => g.Peer.Head != null, "a request");
                g.Peer.Accept("chat");
                g.Until(() => g.Client.State == ClientState.Closed, "closed");
                Want.Equal(EndKind.Protocol, g.Client.Why.Kind, "why");
            }
        }

        static void StopInHandler()
        {
            using (var g = new Game())
            {
                g.Client.OnNotification = n => { g.Client.Stop(); return null; };
                g.Up();
                g.Note(1, ",\"ack\":true,\"stored\":true");
                var m = g.Read("ack");
                Want.Equal("n1", string.Join(" ", m.StringsOf("ids")), "what is acknowledged");
                string close = null;
                g.Until(() => (close = g.Peer.Next()) != null, "good-bye");
                Want.Equal("frame 8", close, "the last words");
                g.Until(() => g.Client.State == ClientState.Closed, "closed");
                g.Client.Start();
                g.Connect();
            }
        }

        static void Flood()
        {
            using (var g = new Game(o => o.QueueMessages = 2))
            {
                g.Up("ann", true);
                g.Read("resume");
                g.Peer.Send("{\"t\":\"resumed\",\"recovered\":true,\"count\":0,\"last\":\"\"}");
                g.Note(1);
                Thread.Sleep(300); // both have come; the first fills the queue
                g.Client.OnNotification = n => { g.Client.Stop(); return null; };
                Want.True(g.Client.RunAsync(CancellationToken.None).Wait(patience), "it ends");
            }
        }

        static void RunFails()
        {
            using (var g = new Game())
            {
                g.Up();
                g.Client.OnNotification = n => { throw new InvalidOperationException("the game's"); };
                g.Note(1);
                var run = g.Client.RunAsync(CancellationToken.None);
                Want.True(run.ContinueWith(t => { }).Wait(patience), "it ends");
                Want.True(run.IsFaulted && run.Exception.InnerException is HandlerException && run.Exception.InnerException.InnerException.Message == "the game's", "it fails");
                Want.Equal(ClientState.Closed, g.Client.State, "the state");
            }
        }

        static void RoomAfterRoom()
        {
            using (var g = new Game())
            {
                var numbers = new List<long>();
                g.Client.Room.Frame += f => { foreach (var e in f.Events) numbers.Add(e.N); };
                g.Up();
                Link.Forget(g.Client.Room.Join(g.Server.Url, "k1"));
                g.Connect();
                var join = g.Read("join");
                g.Peer.Send("{\"t\":\"joined\",\"room\":\"r1\",\"ticket\":\"k2\",\"ref\":" + join["ref"].Text + "}");
                g.Peer.Send("{\"t\":\"frame\",\"tick\":1,\"recovered\":true,\"events\":[{\"n\":1000,\"data\":1}],\"state\":{\"a\":1}}");
                g.Until(() => numbers.Count == 1, "a frame");
                var before = g.Peer;
                Link.Forget(g.Client.Room.Join(g.Server.Url, "k7"));
                before.Send("{\"t\":\"frame\",\"tick\":2,\"events\":[{\"n\":1001,\"data\":1}]}");
                g.Connect();
                join = g.Read("join");
                Want.Equal("k7", join["ticket"].AsString(), "the ticket");
                Want.True(join["n"] == null, "no event of that room was heard");
                g.Peer.Send("{\"t\":\"joined\",\"room\":\"r2\",\"ticket\":\"k8\",\"ref\":" + join["ref"].Text + "}");
                g.Peer.Send("{\"t\":\"frame\",\"tick\":1,\"recovered\":true,\"events\":[{\"n\":2,\"data\":1}],\"state\":{\"b\":1}}");
                g.Until(() => numbers.Count == 2, "a frame of the other room");
                Want.Equal("1000 2", string.Join(" ", numbers), "the events");
                Want.Equal("b", string.Join(" ", g.Client.Room.State.Keys), "the state");
            }
        }

        static void Refused()
        {
            using (var g = new Game())
            {
                var last = new StateChange();
                g.Client.StateChanged += c => last = c;
                g.Client.Start();
                g.Until(() => (g.Peer = g.Server.Next()) != null, "a connection");
                g.Until(() => g.Peer.Head != null, "a request");
                g.Peer.Answer("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 40\r\nContent-Type: application/problem+json\r\nContent-Length: 18\r\n\r\n{\"code\":\"crowded\"}");
                g.Until(() => g.Client.State == ClientState.Waiting, "waiting");
                Want.True(last.Pause >= TimeSpan.FromSeconds(40) && last.Pause <= TimeSpan.FromSeconds(45), "the pause: " + last.Pause);
                Want.Equal("crowded", last.Why.Problem, "why");
                Want.Equal(503, last.Why.Code, "the status");
            }
        }

        static void FriendsReplaced()
        {
            using (var g = new Game())
            {
                g.Up();
                g.Peer.Send("{\"t\":\"friends\",\"online\":[{\"user\":\"bob\",\"services\":[\"chess\"]}]}");
                g.Until(() => g.Client.Friends.Known, "friends");
                Want.Equal("chess", string.Join(" ", g.Client.Friends.ServicesOf("bob")), "where bob is");
                g.Peer.Close();
                g.Until(() => !g.Client.Friends.Known, "the loss");
                Want.True(g.Client.Friends.IsOnline("bob"), "what was known last");
                g.Connect();
                g.Peer.Send("{\"t\":\"friends\",\"online\":[{\"user\":\"eve\",\"services\":[]}]}");
                g.Until(() => g.Client.Friends.Known, "friends");
                Want.Equal("eve", string.Join(" ", g.Client.Friends.Online), "who is there");
            }
        }

        static void NobodyThere()
        {
            using (var g = new Game(o => o.Url = "ws://127.0.0.1:1/ws"))
            {
                Ending why = null;
                g.Client.StateChanged += c => why = c.Why ?? why;
                g.Client.Start();
                g.Until(() => g.Client.State == ClientState.Waiting, "waiting");
                Want.Equal(EndKind.Lost, why.Kind, "why");
            }
            using (var g = new Game(o => o.Url = "http://a/ws"))
            {
                g.Client.Start();
                g.Until(() => g.Client.State == ClientState.Closed, "closed");
                Want.Equal(EndKind.Address, g.Client.Why.Kind, "why");
            }
        }
    }
}

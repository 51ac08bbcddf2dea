using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Homing.Tests
{
    /// <summary>
    /// The agent of client/conformance: does what it is told on standard input, and says on standard
    /// output what happens. Everything is heard from Poll, on the main thread.
    /// </summary>
    static class Agent
    {
        static readonly TextWriter output = new StreamWriter(Console.OpenStandardOutput(), new UTF8Encoding(false)) { AutoFlush = true };
        static readonly Queue<string> lines = new Queue<string>(); // under its lock
        static bool inputEnded;
        static readonly AutoResetEvent awake = new AutoResetEvent(false);

        static readonly JumpingClock clock = new JumpingClock();
        static readonly HashSet<string> hold = new HashSet<string>();
        static readonly Dictionary<string, TaskCompletionSource<bool>> held = new Dictionary<string, TaskCompletionSource<bool>>();
        static HomingClient client;
        static int before; // sockets that are not the client's: standard error may be one
        static bool trustAll; // any certificate

        sealed class JumpingClock : Clock
        {
            internal TimeSpan Jump;
            internal override DateTime UtcNow { get { return base.UtcNow + Jump; } }
        }

        static void Main(string[] args)
        {
            before = Sockets();
            bool plain = Array.IndexOf(args, "--client-web-socket") >= 0;
            trustAll = Array.IndexOf(args, "--trust-all") >= 0;
            new Thread(ReadLines) { IsBackground = true }.Start();
            var can = new List<string> { "hold", "overlap", "fail", "topics", "publish", "friends", "rooms", "binary", "network", "clock" };
            if (!plain) can.AddRange(new[] { "status", "date" });
            output.WriteLine(new JsonWriter().Add("event", "ready").Add("client", plain ? "csharp-ClientWebSocket" : "csharp").Add("can", can));
            while (Step(plain)) { }
            End.With(LeftBehind());
        }

        static void ReadLines()
        {
            var input = new StreamReader(Console.OpenStandardInput(), Encoding.UTF8);
            for (string line = input.ReadLine(); line != null; line = input.ReadLine())
            {
                lock (lines) lines.Enqueue(line);
                awake.Set();
            }
            lock (lines) inputEnded = true;
            awake.Set();
        }

        /// <summary>Does what is due, and waits. Reports false when all is over.</summary>
        static bool Step(bool plain)
        {
            Task signal = client == null ? null : client.Signal();
            bool ended;
            for (;;)
            {
                string line;
                lock (lines)
                {
                    ended = inputEnded;
                    if (lines.Count == 0) break;
                    line = lines.Dequeue();
                }
                Do(JsonValue.Parse(line), plain);
            }
            if (client == null)
            {
                if (ended) return false;
                awake.WaitOne();
                return true;
            }
            if (ended) client.Stop();
            client.Poll();
            if (ended && client.State == ClientState.Closed) return false;
            if (signal == null) return true;
            signal.ContinueWith(_ => awake.Set(), TaskContinuationOptions.ExecuteSynchronously);
            awake.WaitOne(client.UntilDue() + TimeSpan.FromMilliseconds(1));
            return true;
        }

        /// <summary>Counts what the client has left open: nothing, after a moment.</summary>
        static int LeftBehind()
        {
            if (client == null) return 0;
            for (int i = 0; i < 100; i++)
            {
                if (Sockets() <= before) return 0;
                Thread.Sleep(50);
            }
            Console.Error.WriteLine("the client has left " + (Sockets() - before) + " sockets open");
            return 1;
        }

        static int Sockets()
        {
            int sockets = 0;
            foreach (string fd in Directory.GetFiles("/proc/self/fd"))
                if (IsSocket(fd)) sockets++;
            return sockets;
        }

        [DllImport("libc", SetLastError = true)]
        static extern IntPtr readlink(string path, byte[] buffer, IntPtr size);

        static bool IsSocket(string fd)
        {
            var buffer = new byte[64];
            int n = (int)readlink(fd, buffer, (IntPtr)buffer.Length);
            return n > 0 && Encoding.ASCII.GetString(buffer, 0, n).StartsWith("socket:", StringComparison.Ordinal);
        }

        static void Say(JsonWriter what) { output.WriteLine(what); }

        static JsonWriter Event(string name) { return new JsonWriter().Add("event", name); }

        static void Do(JsonValue m, bool plain)
        {
            string name = m.StringOf("do");
            if (name == "start") Begin(m, plain);
            else if (name == "handled") Release(m, true);
            else if (name == "fail") Release(m, false);
            else if (name == "close") client.Stop();
            else if (name == "subscribe") Subscribe(m);
            else if (name == "unsubscribe") Link.Forget(client.Unsubscribe(m.StringOf("topic")));
            else if (name == "publish") Publish(m);
            else if (name == "join") Link.Forget(client.Room.Join(m.StringOf("url"), m.StringOf("ticket")));
            else if (name == "say" && m["hex"] != null) client.Room.Say(Bytes(m.StringOf("hex")));
            else if (name == "say") client.Room.Say(m["data"].Text);
            else if (name == "leave") Link.Forget(client.Room.Leave());
            else if (name == "offline") client.SetNetwork(false);
            else if (name == "online") client.SetNetwork(true);
            else if (name == "clock") clock.Jump += TimeSpan.FromMilliseconds(m.DoubleOf("ms"));
            else throw new ArgumentException("told to do " + name);
        }

        static byte[] Bytes(string hex)
        {
            var bytes = new byte[hex.Length / 2];
            for (int i = 0; i < bytes.Length; i++) bytes[i] = Convert.ToByte(hex.Substring(2 * i, 2), 16);
            return bytes;
        }

        static void Begin(JsonValue m, bool plain)
        {
            var tokens = new Queue<string>(m.StringsOf("tokens"));
            var store = new MemoryStore();
            store.Save("ann place", m.StringOf("place"));
            foreach (string id in m.StringsOf("hold")) hold.Add(id);
            client = new HomingClient(new HomingOptions
            {
                CertificateCheck = trustAll ? (sender, certificate, chain, errors) => true : (System.Net.Security.RemoteCertificateValidationCallback)null,
                Url = m.StringOf("url"), Store = store, Clock = clock,
                Connector = plain ? (Connector)new ClientWebSocketConnector() : new SocketConnector(),
                Token = _ => Task.FromResult(tokens.Count > 1 ? tokens.Dequeue() : tokens.Peek()),
            });
            client.OnNotification = Handle;
            client.Problem += e => Console.Error.WriteLine("problem: " + e.Message);
            client.StateChanged += TellState;
            client.Resumed += r => { if (r.Topic.Length == 0) Say(Event("resumed").Add("recovered", r.Recovered)); };
            client.Friends.Changed += f => Say(Event("friends").Add("online", f.Online));
            client.Room.Joined += j => Say(Event("joined").Add("room", j.Room).Add("seat", j.Seat));
            client.Room.Left += l => Say(Event("left").Add("why", l.Why).Add("reason", l.Reason));
            client.Room.Frame += TellFrame;
            client.Start();
        }

        static void TellState(StateChange change)
        {
            var e = Event("state").Add("state", change.State.ToString().ToLowerInvariant());
            if (change.Why != null && change.Why.Kind == EndKind.Closed) e.Add("code", change.Why.Code);
            if (change.Why != null && change.Why.Kind == EndKind.Refused) e.Add("status", change.Why.Code);
            Say(e);
        }

        static void TellFrame(Frame f)
        {
            var numbers = new StringBuilder("[");
            foreach (var e in f.Events) numbers.Append(numbers.Length > 1 ? "," : "").Append(e.N);
            var state = new JsonWriter();
            foreach (var s in client.Room.State) state.AddJson(s.Key, s.Value.Text);
            foreach (var s in client.Room.Bytes) state.Add(s.Key, BitConverter.ToString(s.Value).Replace("-", "").ToLowerInvariant());
            Say(Event("frame").AddJson("events", numbers.Append("]").ToString()).AddJson("state", state.ToString()));
        }

        static Task Handle(Notification n)
        {
            var e = Event("notify").Add("id", n.Id).Add("type", n.Type).Add("from", n.From).Add("user", n.User).Add("topics", n.Topics);
            Say(e.AddJson("data", n.Data == null ? "null" : n.Data.Text));
            if (!hold.Contains(n.Id)) return null;
            var wait = new TaskCompletionSource<bool>();
            held[n.Id] = wait;
            return wait.Task;
        }

        static void Release(JsonValue m, bool well)
        {
            var wait = held[m.StringOf("id")];
            if (well) wait.SetResult(true);
            else wait.SetException(new InvalidOperationException("as it was told"));
        }

        static async void Subscribe(JsonValue m)
        {
            string topic = m.StringOf("topic"), name = m.StringOf("as");
            try
            {
                var r = await client.Subscribe(topic, m.BoolOf("history"));
                Say(Event("subscribed").Add("as", name).Add("topic", topic).Add("recovered", r.Recovered));
            }
            catch (RequestException e) { Say(Event("refused").Add("as", name).Add("code", e.Code)); }
        }

        static async void Publish(JsonValue m)
        {
            string name = m.StringOf("as");
            try
            {
                string id = await client.Publish(m.StringOf("topic"), m["data"].Text, m.StringOf("type"));
                Say(Event("published").Add("as", name).Add("id", id));
            }
            catch (RequestException e) { Say(Event("refused").Add("as", name).Add("code", e.Code)); }
        }
    }
}

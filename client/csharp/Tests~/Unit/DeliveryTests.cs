using System;
using System.Collections.Generic;
using System.IO;
using System.Threading.Tasks;

namespace Homing.Tests
{
    static class DeliveryTests
    {
        internal static void Register()
        {
            Program.Add("delivery: one after the other", InTurn);
            Program.Add("delivery: what fails counts as not had", Failing);
            Program.Add("seen: remembers the last 1024", Remembered);
            Program.Add("acks: in batches, each once, bounded", Batches);
            Program.Add("catching up: too much before the answer", TooMuch);
            Program.Add("catching up: what was set aside survives a lost connection", Survives);
            Program.Add("store: a file", Files);
        }

        static Notification Note(string id, bool ack = false, bool stored = false)
        {
            return new Notification(JsonValue.Parse(new JsonWriter().Add("t", "notify").Add("id", id).Add("ack", ack).Add("stored", stored).AddJson("data", "1").ToString()));
        }

        static void InTurn()
        {
            var order = new List<string>();
            var waits = new Dictionary<string, TaskCompletionSource<bool>>();
            var d = new Delivery(n =>
            {
                order.Add(n.Id);
                waits[n.Id] = new TaskCompletionSource<bool>();
                return waits[n.Id].Task;
            }, n => order.Add("ack " + n.Id), e => { throw e; }, () => { });
            d.Add(Note("a", true), null);
            d.Add(Note("b"), null);
            d.Add(() => order.Add("then"));
            d.Add(Note("a", true), null);
            d.Step();
            d.Step();
            Want.Equal("a", string.Join(" ", order), "while a is dealt with");
            waits["a"].SetResult(true);
            d.Step();
            Want.Equal("a ack a b", string.Join(" ", order), "then");
            waits["b"].SetResult(true);
            d.Step();
            Want.Equal("a ack a b then ack a", string.Join(" ", order), "then the repeat is acknowledged again");
            Want.Equal(0, d.Weight, "what waits");
        }

        static void Failing()
        {
            int calls = 0, problems = 0, acks = 0;
            var source = new Source("") { State = Source.Phase.Live };
            var moves = new List<Source> { source };
            var d = new Delivery(n =>
            {
                if (++calls == 1) throw new InvalidOperationException("at once");
                if (calls == 2)
                {
                    var failed = new TaskCompletionSource<bool>();
                    failed.SetException(new InvalidOperationException("later"));
                    return failed.Task;
                }
                return null;
            }, n => acks++, e => problems++, () => { });
            for (int i = 0; i < 3; i++)
            {
                d.Add(Note("a", true, true), moves);
                d.Step();
                Want.Equal(i < 2 ? "" : "a", source.Place, "the place");
            }
            Want.Equal(3, calls, "calls");
            Want.Equal(2, problems, "problems");
            Want.Equal(1, acks, "acknowledgements");
        }

        static void Remembered()
        {
            var seen = new Seen();
            for (int i = 0; i <= Seen.Limit; i++) seen.Add("id" + i);
            Want.True(!seen.Has("id0") && seen.Has("id1") && seen.Has("id" + Seen.Limit), "the oldest goes");
            seen.Add("");
            Want.True(!seen.Has(""), "the empty id never is");
        }

        static void Batches()
        {
            var acks = new Acks();
            var now = TimeSpan.FromSeconds(1);
            for (int i = 0; i < 5000; i++) acks.Add("id" + i, now);
            acks.Add("id0", now);
            int ids = 0, messages = 0;
            foreach (string text in acks.Take(now, false))
            {
                messages++;
                foreach (var id in JsonValue.Parse(text)["ids"].Items()) Want.Equal("id" + ids++, id.AsString(), "the id");
            }
            Want.Equal(1024, ids, "ids");
            Want.Equal(16, messages, "messages");
            acks.Add("x", now);
            foreach (string text in acks.Take(now, false)) throw new TestException("too early: " + text);
            Want.Equal(now + TimeSpan.FromMilliseconds(50), acks.Due.Value, "when it is due");
        }

        sealed class Catching
        {
            internal readonly List<string> Given = new List<string>();
            internal readonly List<Exception> Problems = new List<Exception>();
            internal readonly CatchUp CatchUp;
            internal readonly Delivery Delivery;
            internal int Asked;

            internal Catching()
            {
                Delivery = new Delivery(n => { Given.Add(n.Id); return null; }, n => { }, Problems.Add, () => { });
                CatchUp = new CatchUp(Clock.System, Delivery, r => { }, () => Given.Add("caught up"), Problems.Add);
                CatchUp.Inbox.Ask = () => Asked++;
            }

            internal void Answer(int count, string last)
            {
                CatchUp.Answered(CatchUp.Inbox, new Resumed(JsonValue.Parse(new JsonWriter().Add("recovered", true).Add("count", count).Add("last", last).ToString()), ""));
            }
        }

        static void TooMuch()
        {
            var c = new Catching();
            c.CatchUp.OnUp(true);
            c.CatchUp.Step();
            for (int i = 0; i < 5000; i++) c.CatchUp.Take(Note("n" + i, false, true));
            c.Delivery.Step();
            Want.Equal(5000, c.Given.Count, "nothing is lost");
            Want.Equal(1, c.Problems.Count, "and it is told");
            Want.Equal("", c.CatchUp.Inbox.Place, "the place stays");
            c.Answer(1, "m1");
            c.CatchUp.Take(Note("m1", false, true));
            c.Delivery.Step();
            Want.Equal("m1", c.CatchUp.Inbox.Place, "the place after the replay");
            Want.Equal(5002, c.Given.Count, "with the replay");
        }

        static void Survives()
        {
            var c = new Catching();
            c.CatchUp.OnUp(true);
            c.CatchUp.Step();
            c.CatchUp.Take(Note("loose"));
            c.CatchUp.OnDown();
            c.Delivery.Step();
            Want.Equal(0, c.Given.Count, "given");
            c.CatchUp.OnUp(true);
            c.CatchUp.Step();
            Want.Equal(2, c.Asked, "asked");
            c.Answer(1, "m1");
            c.CatchUp.Take(Note("m1", false, true));
            c.Delivery.Step();
            Want.Equal("m1 caught up loose", string.Join(" ", c.Given), "in order");
        }

        static void Files()
        {
            string path = Path.GetTempFileName();
            try
            {
                var store = new FileStore(path);
                Want.Equal(null, store.Load("a"), "nothing");
                store.Save("a", "1");
                store.Save("b", "\"\n");
                store.Save("a", "2");
                store = new FileStore(path);
                Want.Equal("2", store.Load("a"), "a");
                Want.Equal("\"\n", store.Load("b"), "b");
                for (int i = 0; i < 300; i++) store.Save("k" + i, "v");
                store = new FileStore(path);
                Want.Equal(null, store.Load("a"), "the oldest");
                Want.Equal("v", store.Load("k299"), "the newest");
                File.WriteAllText(path, "{\"a\":");
                Want.Equal(null, new FileStore(path).Load("a"), "a file that makes no sense");
                File.WriteAllText(path, "{\"a\":1}");
                Want.Equal(null, new FileStore(path).Load("a"), "a file that makes no sense");
            }
            finally { File.Delete(path); }
        }
    }
}

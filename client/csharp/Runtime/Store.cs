using System;
using System.Collections.Generic;
using System.IO;
using System.Text;

namespace Homing
{
    /// <summary>
    /// Keeps a client's places over runs of the game, under short keys that name the user. It is
    /// called by whoever polls, at the end of a Poll, and only when something has changed. Losing
    /// the last words of it does no harm: what comes again is told apart, or comes twice at worst.
    /// </summary>
    public interface IStore
    {
        /// <summary>What was saved under a key, or null.</summary>
        string Load(string key);
        void Save(string key, string value);
    }

    /// <summary>Keeps places in memory, for several clients one after the other.</summary>
    public sealed class MemoryStore : IStore
    {
        readonly Dictionary<string, string> values = new Dictionary<string, string>();

        public string Load(string key)
        {
            string value;
            return values.TryGetValue(key, out value) ? value : null;
        }

        public void Save(string key, string value) { values[key] = value; }
    }

    /// <summary>
    /// Keeps places in a file, which is replaced as a whole, so that a process that is killed
    /// leaves the old one or the new one. A file that makes no sense counts as empty.
    /// </summary>
    public sealed class FileStore : IStore
    {
        const int most = 256; // keys; the oldest go
        readonly string path;
        readonly List<KeyValuePair<string, string>> values = new List<KeyValuePair<string, string>>();

        public FileStore(string path)
        {
            this.path = path;
            if (!File.Exists(path)) return;
            try
            {
                foreach (var member in JsonValue.Parse(File.ReadAllText(path, Encoding.UTF8)).Members())
                    values.Add(new KeyValuePair<string, string>(member.Key, member.Value.AsString()));
            }
            catch (JsonException) { values.Clear(); }
        }

        public string Load(string key)
        {
            foreach (var pair in values)
                if (pair.Key == key) return pair.Value;
            return null;
        }

        public void Save(string key, string value)
        {
            values.RemoveAll(pair => pair.Key == key);
            values.Add(new KeyValuePair<string, string>(key, value));
            if (values.Count > most) values.RemoveAt(0);
            var json = new JsonWriter();
            foreach (var pair in values) json.Add(pair.Key, pair.Value);
            string next = path + ".next";
            File.WriteAllText(next, json.ToString(), new UTF8Encoding(false));
            if (File.Exists(path)) File.Replace(next, path, null);
            else File.Move(next, path);
        }
    }
}

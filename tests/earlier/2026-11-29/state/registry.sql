BEGIN TRANSACTION;
CREATE TABLE evaluations (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL,
            at TEXT NOT NULL,
            document TEXT NOT NULL CHECK (json_valid(document)),
            UNIQUE (id, document)
        ) STRICT;
CREATE TABLE moves (
            seq INTEGER PRIMARY KEY,
            alias TEXT NOT NULL,
            was INTEGER REFERENCES records (seq),
            now INTEGER REFERENCES records (seq),
            at TEXT NOT NULL,
            who TEXT NOT NULL,
            why TEXT NOT NULL
        ) STRICT;
INSERT INTO "moves" VALUES(1,'good',NULL,1,'2026-11-29T20:01:11Z','root','the-only-one');
CREATE TABLE records (
            seq INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            version INTEGER NOT NULL CHECK (version > 0),
            id TEXT NOT NULL CHECK (length(id) = 71),
            created TEXT NOT NULL,
            facts TEXT NOT NULL CHECK (json_valid(facts)),
            files TEXT NOT NULL CHECK (json_valid(files)),
            bytes INTEGER NOT NULL,
            removed TEXT,
            UNIQUE (name, version)
        ) STRICT;
INSERT INTO "records" VALUES(1,'tiny',1,'sha256:3bd916fc2dd3b5135af602ac486d941b78caf1257db67ac6b5d8df5e5d5d9aac','2026-11-29T20:01:05Z','{"base":null,"compute_type":"int8","data":[],"duration":null,"libraries":{},"license":"Apache-2.0","max_length":100,"min_length":5,"note":"made-for-tests","overlap":null,"parameters":{},"parent":"","runtime":"transformers","seed":null,"source":"path"}','{"config.json":"fb5cae395c65b9c8636e847218621b5ed130ff4bc3805e38e510ff90e6db40ab","generation_config.json":"502d69cd346c84db2c600e57ef83097d54505db1132ade4cc4f647282f10f792","model.safetensors":"28b5ba86d4ef179cf9cd0f55187c91d44475d1de00762b813469af4877be559d","tokenizer.json":"13748f458eeb44e334f913ffd1c63b4b12c5e2e804e15bb1e3412ee12ba88bf3","tokenizer_config.json":"cb25ca2de893cf012c8f7386e3f5c71b13651c97ad229b5afffeac2068246cdd"}',12621,NULL);
CREATE INDEX records_by_id ON records (id);
CREATE VIEW aliases AS SELECT alias, now FROM moves
            WHERE seq IN (SELECT max(seq) FROM moves GROUP BY alias) AND now IS NOT NULL;
CREATE TRIGGER moves_are_not_changed BEFORE UPDATE ON moves
                BEGIN SELECT RAISE(ABORT, 'moves are not changed'); END;
CREATE TRIGGER moves_are_not_deleted BEFORE DELETE ON moves
                BEGIN SELECT RAISE(ABORT, 'moves are not deleted'); END;
CREATE TRIGGER moves_are_not_replaced BEFORE INSERT ON moves
        WHEN EXISTS (SELECT 1 FROM moves WHERE seq = NEW.seq)
        BEGIN SELECT RAISE(ABORT, 'moves are not replaced'); END;
CREATE TRIGGER evaluations_are_not_changed BEFORE UPDATE ON evaluations
                BEGIN SELECT RAISE(ABORT, 'evaluations are not changed'); END;
CREATE TRIGGER evaluations_are_not_deleted BEFORE DELETE ON evaluations
                BEGIN SELECT RAISE(ABORT, 'evaluations are not deleted'); END;
CREATE TRIGGER evaluations_are_not_replaced BEFORE INSERT ON evaluations
        WHEN EXISTS (SELECT 1 FROM evaluations WHERE seq = NEW.seq)
        BEGIN SELECT RAISE(ABORT, 'evaluations are not replaced'); END;
CREATE TRIGGER records_are_not_replaced BEFORE INSERT ON records
        WHEN EXISTS (SELECT 1 FROM records WHERE seq = NEW.seq)
        BEGIN SELECT RAISE(ABORT, 'records are not replaced'); END;
CREATE TRIGGER records_are_not_deleted BEFORE DELETE ON records
            BEGIN SELECT RAISE(ABORT, 'records are not deleted'); END;
CREATE TRIGGER records_are_only_marked BEFORE UPDATE ON records
            WHEN OLD.removed IS NOT NULL OR NEW.removed IS NULL
                OR (OLD.seq, OLD.name, OLD.version, OLD.id, OLD.created, OLD.facts, OLD.files,
                    OLD.bytes)
                IS NOT (NEW.seq, NEW.name, NEW.version, NEW.id, NEW.created, NEW.facts,
                    NEW.files, NEW.bytes)
            BEGIN SELECT RAISE(ABORT, 'records are not changed'); END;
COMMIT;
PRAGMA user_version = 1;
